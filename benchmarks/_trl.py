"""What the comparisons with TRL share: SmolLM2-135M-Instruct with TRL's own first adapter, there and here.

LoRA of rank 16, α 32 on all products, AdamW 2e-4 constant, float32, 8 rows a step, no dropout. TRL runs in a process of
its own, with the Python of an environment that has trl 1.16.0, peft 0.21.2 and torch.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._report import report

CHECKPOINT = Path("artifacts/smollm2/checkpoint")
BATCH, RANK, ALPHA, RATE, CLIP = 8, 16, 32, 2e-4, 1.0

NETWORK = """
import json, sys, time, torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

checkpoint, rows, folder = sys.argv[1:4]
steps, batch, rank, alpha = map(int, sys.argv[4:8])
rate = float(sys.argv[8])
torch.manual_seed(0)
network = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
network = get_peft_model(network, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0,
                                             task_type="CAUSAL_LM"))
network.save_pretrained(folder + "/first")
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
settings = dict(
    output_dir=folder + "/run", use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=None,
    per_device_train_batch_size=batch, max_steps=steps, learning_rate=rate, lr_scheduler_type="constant",
    weight_decay=0.0, adam_beta2=0.999, max_grad_norm=1.0, logging_steps=1, save_strategy="no", report_to=[], seed=0,
    train_sampling_strategy="sequential", dataloader_num_workers=0,
)
"""
"""How a script of TRL's side begins; it ends by printing one JSON object."""


def options(name: str, prepared: Path, **more: float) -> argparse.Namespace:
    """`peer` and these options of the command line. Ends the benchmark as skipped where it lacks something."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    for option, default in more.items():
        parser.add_argument(f"--{option}", type=type(default), default=default, help=f"default: {default}")
    parser.add_argument("--peer", default=sys.executable, help="the Python of an environment with trl")
    found = parser.parse_args()
    if subprocess.run([found.peer, "-c", "import trl"], capture_output=True, check=False).returncode:
        report(name=name, skipped="needs trl 1.16.0: --peer PYTHON", ok=True)
    for path in (CHECKPOINT / "model.safetensors", prepared / "index.json"):
        if not path.is_file():
            report(name=name, skipped=f"needs {path}: metroline run {prepared.name}", ok=True)
    return found


def peer(python: str, script: str, folder: Path, steps: int, rows: Any, *more: float) -> dict[str, Any]:
    """What `NETWORK` and the script say of these rows; TRL's first adapter is in `folder`/first. Raises RuntimeError
    when it fails."""
    (folder / "rows.json").write_text(json.dumps(rows))
    numbers = map(str, (steps, BATCH, RANK, ALPHA, RATE, *more))
    settings = [str(CHECKPOINT), str(folder / "rows.json"), str(folder), *numbers]
    done = subprocess.run([python, "-c", NETWORK + script, *settings], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"TRL ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Adapted:
    """The network here, with the adapter in `first` alone in training."""

    def __init__(self, first: Path) -> None:
        from models import adapter_files
        from models.decoder.huggingface import HEAD, load, published
        from pipelines.recipe.train_section import TrainConfig
        from pipelines.training.optimizers import build

        network = self.network = load(CHECKPOINT)
        adapter_files.read(first, network, base_sha256="", published=lambda layer: published(network.config, layer))
        for name, weight in network.named_parameters():
            weight.requires_grad_("lora_" in name)
        self._weights: list[nn.Parameter] = [weight for weight in network.parameters() if weight.requires_grad]
        settings = TrainConfig(lr=RATE, betas=(0.9, 0.999), weight_decay=0.0)
        (self._optimizer,) = build(settings, network, (HEAD,), bf16_units=False)
        for group in self._optimizer.param_groups:
            group["lr"] = RATE

    def step(self, loss: Tensor) -> float:
        """One step down this mean loss, which is returned."""
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, CLIP)
        self._optimizer.step()
        return loss.item()
