"""Does training chats here go the way that TRL's SFTTrainer goes: the same losses, step by step, and at the end?

    metroline stage prepare smollm2-sft && python -m benchmarks.sft_curve [--steps 20] [--peer PYTHON]

Both see the rows of smollm2-sft's train split in the order in which they stand, 8 a step, with the same tokens and
targets: LoRA of rank 16, α 32 on all products of SmolLM2-135M-Instruct, from the same first matrices (TRL's), AdamW
2e-4 constant, float32, no packing, no dropout. The value is the largest difference of a step's loss; the loss on the
test split afterwards is recorded, too. PYTHON is that of an environment with trl 1.16.0, peft 0.21.2 and torch.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._report import record, report

CHECKPOINT, PREPARED = Path("artifacts/smollm2/checkpoint"), Path("data/prepared/smollm2-sft")
BATCH, RANK, ALPHA, RATE = 8, 16, 32, 2e-4
ACCEPT, ACCEPT_TEST = 1e-3, 0.01

PEER = """
import json, sys, time, torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

checkpoint, rows, folder, steps, batch, rank, alpha, rate = sys.argv[1:9]
split = json.load(open(rows))
torch.manual_seed(0)
network = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
network = get_peft_model(network, LoraConfig(r=int(rank), lora_alpha=int(alpha), target_modules="all-linear",
                                             lora_dropout=0.0, task_type="CAUSAL_LM"))
network.save_pretrained(folder + "/first")
settings = SFTConfig(
    output_dir=folder + "/run", use_cpu=True, bf16=False, gradient_checkpointing=False, packing=False,
    completion_only_loss=True, max_length=None, per_device_train_batch_size=int(batch), max_steps=int(steps),
    per_device_eval_batch_size=int(batch), learning_rate=float(rate), lr_scheduler_type="constant", weight_decay=0.0,
    adam_beta2=0.999, max_grad_norm=1.0, logging_steps=1, save_strategy="no", report_to=[], seed=0,
    train_sampling_strategy="sequential", dataloader_num_workers=0, shuffle_dataset=False,
)
trainer = SFTTrainer(network, settings, train_dataset=Dataset.from_list(split["train"]),
                     processing_class=AutoTokenizer.from_pretrained(checkpoint))
began = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - began
losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
network.eval()
nats = targets = 0.0
with torch.no_grad():
    for row in split["test"]:
        ids, mask = torch.tensor([row["input_ids"]]), torch.tensor(row["completion_mask"])[1:].bool()
        logits = network(ids).logits[0, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits[mask], ids[0, 1:][mask], reduction="sum"))
        targets += int(mask.sum())
print(json.dumps({"losses": losses, "test_loss": nats / targets, "seconds": seconds}))
"""


def rows_of(split: str) -> list[dict[str, list[int]]]:
    """A split's chats as TRL takes them ready-made."""
    from data.text.shards import Shards

    shards = Shards(PREPARED, split)
    found = []
    for chat in range(len(shards)):
        tokens = shards.document(chat)
        mask = shards.mask_at(int(shards.offsets[chat]), len(tokens)).astype(int)
        found.append({"input_ids": tokens.tolist(), "completion_mask": mask.tolist()})
    return found


def ours(first: Path, steps: int) -> dict[str, Any]:
    """The losses of so many steps, and of the test split after them, from the adapter in `first`."""
    from base.progress import Progress
    from data.text.shards import Shards
    from models import adapter_files
    from models.decoder.huggingface import HEAD, load, published
    from pipelines.recipe.train_section import TrainConfig
    from pipelines.tasks.instruction.gain import chat_losses
    from pipelines.tasks.instruction.packing import alone
    from pipelines.tasks.instruction.rows import inputs, rows_of
    from pipelines.tasks.language_modelling.learner import NextToken
    from pipelines.training.optimizers import build

    train, test = Shards(PREPARED, "train"), Shards(PREPARED, "test")
    network = load(CHECKPOINT)
    adapter_files.read(first, network, base_sha256="", published=lambda layer: published(network.config, layer))
    for name, weight in network.named_parameters():
        weight.requires_grad_("lora_" in name)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    settings = TrainConfig(lr=RATE, betas=(0.9, 0.999), weight_decay=0.0)
    (optimizer,) = build(settings, network, (HEAD,), bf16_units=False)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    objective, losses = NextToken(network, 0.0).train(), []
    for step in range(steps):
        made = rows_of(train, [[chat] for chat in range(BATCH * step, BATCH * (step + 1))], 512, torch.device("cpu"))
        loss = objective(made.tokens, made.targets, cu_seqlens=made.cu_seqlens) / (made.targets >= 0).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())
    rows = alone(inputs(test).tolist(), 512)
    with Progress("test", len(test), "chats") as progress:
        nats = chat_losses(network.eval(), test, rows, 512, BATCH, progress)
    return {"losses": losses, "test_loss": float(nats.sum() / test.entry["targets"])}


def peer(python: str, folder: Path, steps: int) -> dict[str, Any]:
    """The same by TRL, which leaves its first adapter in `folder`/first. Raises RuntimeError when it fails."""
    (folder / "rows.json").write_text(json.dumps({split: rows_of(split) for split in ("train", "test")}))
    settings = [str(CHECKPOINT), str(folder / "rows.json"), str(folder), *map(str, (steps, BATCH, RANK, ALPHA, RATE))]
    done = subprocess.run([python, "-c", PEER, *settings], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"TRL ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sft_curve")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peer", default=sys.executable, help="the Python of an environment with trl")
    options = parser.parse_args()
    if subprocess.run([options.peer, "-c", "import trl"], capture_output=True, check=False).returncode:
        report(name="sft_curve", skipped="needs trl 1.16.0: --peer PYTHON", ok=True)
    for path in (CHECKPOINT / "model.safetensors", PREPARED / "index.json"):
        if not path.is_file():
            report(name="sft_curve", skipped=f"needs {path}: metroline run smollm2-sft", ok=True)
    with tempfile.TemporaryDirectory() as name:
        theirs = peer(options.peer, Path(name), options.steps)
        found = ours(Path(name) / "first", options.steps)
    record(which="trl", **theirs)
    record(which="ours", **found)
    worst = float(np.abs(np.subtract(found["losses"], theirs["losses"])).max())
    apart = abs(found["test_loss"] / theirs["test_loss"] - 1)
    report(
        name="sft_curve", value=worst, unit="largest difference of a step's loss", baseline=0, ratio=None,
        test_loss_apart=apart, accept=f"<= {ACCEPT}, test loss within {ACCEPT_TEST:.0%}",
        ok=worst <= ACCEPT and apart <= ACCEPT_TEST,
    )  # fmt: skip


if __name__ == "__main__":
    main()
