"""How good and how soon recipe `banking77-minilm` is, beside Hugging Face's Trainer with the same weights and rows.

    metroline stage fetch banking77-minilm && metroline stage prepare banking77-minilm
    python -m benchmarks.banking77                # needs the `peers` extra (make peers); --steps N: a short trial

Both get the prepared train split and MiniLM's folder, 5 epochs of 32 texts a step, AdamW at 5e-5 falling to 0, and are
judged on the whole test split. The peer is `BertForSequenceClassification` with its own tokenizer at 64 tokens, padded
to the longest text of a batch, float32, without checkpoints. Ours is the recipe as it is, with its states and curves.
Seconds are those of training alone, in processes of their own with the machine's threads, one after the other.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from base.errors import MetrolineError
from base.files import read_json
from base.yaml_files import read_yaml
from benchmarks._report import report, say
from benchmarks._training import ROOT, timing, train
from pipelines.paths import Paths
from pipelines.recipe.load import load as load_recipe
from pipelines.tasks.supervised.examples import Examples
from pipelines.tasks.supervised.network import load
from pipelines.tasks.supervised.predict import predict

RECIPE, TOKENS, BATCH, RATE = "banking77-minilm", 64, 32, 5e-5


class Rows(Dataset[dict[str, Any]]):
    """Token ids and labels as the Trainer's collator takes them."""

    def __init__(self, split: Examples, tokenizer: Any) -> None:
        texts = [split.raw(number)[0].decode() for number in range(len(split))]
        self.ids = tokenizer(texts, truncation=True, max_length=TOKENS, padding=False)["input_ids"]
        self.labels = split.targets.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"input_ids": self.ids[number], "label": self.labels[number]}


def peer(steps: int) -> dict[str, Any]:
    """Train by `transformers.Trainer`; {seconds, accuracy, steps}."""
    import transformers

    paths = Paths(RECIPE, ROOT)
    folder = paths.pretrained / "files"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    splits = {name: Examples(paths.prepared, name) for name in ("train", "test")}
    labels = len(splits["train"].signature.outputs[0].labels)  # type: ignore[union-attr]
    model = transformers.BertForSequenceClassification.from_pretrained(folder, num_labels=labels, dtype=torch.float32)

    with TemporaryDirectory(prefix="metroline-benchmark-") as temporary:
        options = transformers.TrainingArguments(
            output_dir=temporary, max_steps=steps, per_device_train_batch_size=BATCH, per_device_eval_batch_size=256,
            learning_rate=RATE, weight_decay=0.01, warmup_steps=steps // 20, lr_scheduler_type="linear", use_cpu=True,
            save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=50, seed=1,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, options, train_dataset=Rows(splits["train"], tokenizer), processing_class=tokenizer
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        scores = trainer.predict(Rows(splits["test"], tokenizer)).predictions
    return {"seconds": seconds, "accuracy": _accuracy(np.asarray(scores), splits["test"]), "steps": steps}


def ours(folder: Path, steps: int) -> dict[str, Any]:
    """Train the recipe in a project below `folder`; {seconds, accuracy, steps}."""
    done, paths = Paths(RECIPE, ROOT), Paths(RECIPE, folder)
    for there, here in ((done.prepared, paths.prepared), (done.pretrained, paths.pretrained)):
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(there.resolve())
    recipes = folder / "pipelines/recipes"
    recipes.mkdir(parents=True)
    values = read_yaml(ROOT / f"pipelines/recipes/{RECIPE}.yaml")
    values["train"]["steps"] = steps
    (recipes / f"{RECIPE}.yaml").write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    train(paths)
    seconds = sum(line["steps"] * line["step_s"] + line.get("save_s", 0.0) for line in timing(paths))
    test = Examples(paths.prepared, "test")
    network, _ = load(load_recipe(RECIPE, folder).model, test.index, paths.checkpoint)
    found = _accuracy(predict(network, test.inputs), test)
    return {"seconds": seconds, "accuracy": found, "steps": read_json(paths.checkpoint / "training.json")["steps"]}


def _accuracy(scores: np.ndarray, test: Examples) -> float:
    return float((scores.argmax(1) == test.targets).mean())


def judged(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The last line."""
    ratio = own["seconds"] / other["seconds"]
    return {
        "name": "banking77",
        "value": round(own["seconds"], 1),
        "unit": f"seconds of training, {own['steps']} steps",
        "baseline": round(other["seconds"], 1),
        "ratio": round(ratio, 4),
        "accept": "ratio <= 0.7 (aim 0.5), accuracy at most 0.005 below the peer's",
        "ok": ratio <= 0.7 and own["accuracy"] >= other["accuracy"] - 0.005 and own["steps"] == other["steps"],
        "accuracy": round(own["accuracy"], 4),
        "baseline_accuracy": round(other["accuracy"], 4),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.banking77")
    parser.add_argument("--steps", type=int, default=load_recipe(RECIPE, ROOT).train.steps)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(peer(options.steps)))
        return
    paths = Paths(RECIPE, ROOT)
    if not (paths.prepared / "index.json").is_file() or not paths.pretrained.is_dir():
        raise MetrolineError(f"{RECIPE} is not prepared", hint=f"metroline stage fetch {RECIPE}, then prepare")
    command = [sys.executable, "-m", "benchmarks.banking77", "--peer", "--steps", str(options.steps)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    other = json.loads(done.stdout.splitlines()[-1])
    say(f"transformers.Trainer: {other['accuracy']:.4f} in {other['seconds']:.1f} s, {other['steps']} steps")
    with TemporaryDirectory(prefix="metroline-benchmark-") as temporary:
        own = ours(Path(temporary), options.steps)
    say(f"ours: {own['accuracy']:.4f} in {own['seconds']:.1f} s, {own['steps']} steps")
    report(**judged(own, other))


if __name__ == "__main__":
    main()
