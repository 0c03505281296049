"""Does preference tuning here go the way that TRL's DPOTrainer goes, step by step, and how fast?

    metroline stage prepare smollm2-dpo && python -m benchmarks.dpo [--steps 20] [--peer PYTHON]

Both see the pairs of smollm2-dpo's train split in the order in which they stand, 8 a step, with the same tokens and
targets: LoRA of rank 16, α 32 on all products of SmolLM2-135M-Instruct, from the same first matrices (TRL's), β 0.1,
AdamW 2e-4 constant, float32, reference log-probabilities computed before the first step. The value is pairs per second
of the steps after the first (the reference's speed is recorded, too), the ratio is to TRL's; the losses of all steps
must agree, and the first be ln 2. PYTHON is that of an environment with trl 1.16.0, peft 0.21.2 and torch.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._report import record, report

CHECKPOINT, PREPARED = Path("artifacts/smollm2/checkpoint"), Path("data/prepared/smollm2-dpo")
BATCH, RANK, ALPHA, RATE, BETA = 8, 16, 32, 2e-4, 0.1
ACCEPT, ACCEPT_SPEED, ACCEPT_FIRST = 1e-3, 1.5, 1e-6

PEER = """
import json, sys, time, torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

checkpoint, rows, folder, steps, batch, rank, alpha, rate, beta = sys.argv[1:10]


class Ready(DPOTrainer):  # the rows are tokens already
    def _prepare_dataset(self, dataset, *_):
        return dataset


class Times(TrainerCallback):
    ends = []
    def on_step_end(self, *_, **__):
        self.ends.append(time.perf_counter())


torch.manual_seed(0)
network = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
network = get_peft_model(network, LoraConfig(r=int(rank), lora_alpha=int(alpha), target_modules="all-linear",
                                             lora_dropout=0.0, task_type="CAUSAL_LM"))
network.save_pretrained(folder + "/first")
settings = DPOConfig(
    output_dir=folder + "/run", use_cpu=True, bf16=False, gradient_checkpointing=False, beta=float(beta),
    precompute_ref_log_probs=True, max_length=None, per_device_train_batch_size=int(batch), max_steps=int(steps),
    learning_rate=float(rate), lr_scheduler_type="constant", weight_decay=0.0, adam_beta2=0.999, max_grad_norm=1.0,
    logging_steps=1, save_strategy="no", report_to=[], seed=0, train_sampling_strategy="sequential",
    dataloader_num_workers=0,
)
pairs = json.load(open(rows))
began = time.perf_counter()
trainer = Ready(network, args=settings, train_dataset=Dataset.from_list(pairs), callbacks=[Times()],
                processing_class=AutoTokenizer.from_pretrained(checkpoint))
reference = time.perf_counter() - began
trainer.train()
log = [line for line in trainer.state.log_history if "loss" in line]
seconds = Times.ends[-1] - Times.ends[0]
print(json.dumps({"losses": [line["loss"] for line in log], "margins": [line["rewards/margins"] for line in log],
                  "pairs_per_s": int(batch) * (len(Times.ends) - 1) / seconds,
                  "reference_pairs_per_s": len(pairs) / reference}))
"""


def rows_of(pairs: int) -> list[dict[str, list[int]]]:
    """The train split's first pairs as TRL takes them ready-made."""
    from data.text.shards import Shards

    shards, found = Shards(PREPARED, "train"), []
    for pair in range(pairs):
        row = {}
        for side, name in enumerate(("chosen_ids", "rejected_ids")):
            tokens = shards.document(2 * pair + side)
            mask = shards.mask_at(int(shards.offsets[2 * pair + side]), len(tokens))
            row["prompt_ids"], row[name] = tokens[~mask].tolist(), tokens[mask].tolist()
        found.append(row)
    return found


def ours(first: Path, steps: int) -> dict[str, Any]:
    """The losses and margins of so many steps from the adapter in `first`, and their speed."""
    from models import adapter_files
    from models.decoder.huggingface import HEAD, load, published
    from pipelines.recipe.load import load as load_recipe
    from pipelines.tasks.preference.learner import Preferences
    from pipelines.training.optimizers import build

    recipe, cpu = load_recipe("smollm2-dpo", Path()), torch.device("cpu")
    changes = {"batch": BATCH, "lr": RATE, "betas": (0.9, 0.999), "weight_decay": 0.0}
    settings = recipe.train.model_copy(update=changes)
    learner = Preferences(recipe.model_copy(update={"train": settings}), PREPARED, CHECKPOINT)
    learner.train.offsets = learner.train.offsets[: 2 * BATCH * steps + 1]
    learner.valid.offsets = learner.valid.offsets[:1]
    network = load(CHECKPOINT)
    adapter_files.read(first, network, base_sha256="", published=lambda layer: published(network.config, layer))
    for name, weight in network.named_parameters():
        weight.requires_grad_("lora_" in name)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    (optimizer,) = build(settings, network, (HEAD,), bf16_units=False)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    objective = learner.objective(network)
    began = time.perf_counter()
    learner.begin(objective, first / "reference", cpu)
    reference = time.perf_counter() - began
    losses, margins, ends = [], [], []
    objective.train()
    for step in range(steps):
        pairs = np.arange(BATCH * step, BATCH * (step + 1))
        batch = learner.batch(np.zeros_like(pairs), pairs, settings.sequence, cpu)
        loss = objective(**batch.inputs) / BATCH
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.clip)
        optimizer.step()
        ends.append(time.perf_counter())
        losses.append(loss.item())
        margins.append(objective.noted()["margin"] / BATCH)
    return {"losses": losses, "margins": margins, "pairs_per_s": BATCH * (steps - 1) / (ends[-1] - ends[0]),
            "reference_pairs_per_s": BATCH * steps / reference}  # fmt: skip


def peer(python: str, folder: Path, steps: int) -> dict[str, Any]:
    """The same by TRL, which leaves its first adapter in `folder`/first. Raises RuntimeError when it fails."""
    (folder / "rows.json").write_text(json.dumps(rows_of(BATCH * steps)))
    numbers = (steps, BATCH, RANK, ALPHA, RATE, BETA)
    settings = [str(CHECKPOINT), str(folder / "rows.json"), str(folder), *map(str, numbers)]
    done = subprocess.run([python, "-c", PEER, *settings], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"TRL ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dpo")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peer", default=sys.executable, help="the Python of an environment with trl")
    options = parser.parse_args()
    if subprocess.run([options.peer, "-c", "import trl"], capture_output=True, check=False).returncode:
        report(name="dpo", skipped="needs trl 1.16.0: --peer PYTHON", ok=True)
    for path in (CHECKPOINT / "model.safetensors", PREPARED / "index.json"):
        if not path.is_file():
            report(name="dpo", skipped=f"needs {path}: metroline run smollm2-dpo", ok=True)
    with tempfile.TemporaryDirectory() as name:
        theirs = peer(options.peer, Path(name), options.steps)
        found = ours(Path(name) / "first", options.steps)
    record(which="trl", **theirs)
    record(which="ours", **found)
    apart = {key: float(np.abs(np.subtract(found[key], theirs[key])).max()) for key in ("losses", "margins")}
    first, ratio = abs(found["losses"][0] - math.log(2)), found["pairs_per_s"] / theirs["pairs_per_s"]
    report(
        name="dpo", value=found["pairs_per_s"], unit="pairs/s", baseline=theirs["pairs_per_s"], ratio=ratio,
        losses_apart=apart["losses"], margins_apart=apart["margins"], first_loss_off=first,
        reference_ratio=found["reference_pairs_per_s"] / theirs["reference_pairs_per_s"],
        threads=torch.get_num_threads(),
        accept=f">= {ACCEPT_SPEED} x TRL, losses within {ACCEPT}, the first within {ACCEPT_FIRST} of ln 2",
        ok=ratio >= ACCEPT_SPEED and apart["losses"] <= ACCEPT and first <= ACCEPT_FIRST,
    )  # fmt: skip


if __name__ == "__main__":
    main()
