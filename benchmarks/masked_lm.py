"""How well and how soon recipe `speeches-bert` finds hidden tokens, beside `transformers`' BertForMaskedLM and Trainer.

    metroline stage fetch speeches-bert && metroline stage prepare speeches-bert
    python -m benchmarks.masked_lm                # needs the `peers` extra (make peers); --steps N: a short trial

Both have the same layers, width and number of weights (± 1 %), tokens, windows a step and steps, and are judged on the
test split with the same masks, 15 % of its tokens. The peer is BERT as `transformers` documents its pretraining:
Trainer, DataCollatorForLanguageModeling, AdamW at 5e-4 with a linear schedule and a tenth of warm-up, float32, no
checkpoints. Ours is the recipe as it is, with its states, curves and validations. Seconds are of training alone, in
processes of their own, one after the other, with the machine's threads; CPU seconds are those of the whole processes,
for machines that others use too.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from base.errors import MetrolineError
from base.yaml_files import read_yaml
from benchmarks._report import report, say
from benchmarks._training import ROOT, timing, train
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from models.encoder import huggingface_masked
from pipelines.paths import Paths
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import Recipe
from pipelines.tasks.masked_language.batches import Hidden
from pipelines.tasks.masked_language.held_out import held_out, width
from pipelines.tasks.masked_language.unigram import unigram
from pipelines.tasks.masked_language.windows import Windows

RECIPE, RATE = "speeches-bert", 5e-4
Score = Callable[[Hidden], torch.Tensor]
"""A batch → the logits of its hidden tokens [M, V]."""


class Rows(Dataset[dict[str, Any]]):
    """Windows of the train split as the Trainer's collator takes them."""

    def __init__(self, recipe: Recipe, prepared: Path) -> None:
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json")
        self.windows = Windows(Shards(prepared, "train"), width(recipe, self.tokenizer))

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        window = self.windows.shifted(number, 0).tolist()
        return {"input_ids": [*self.tokenizer.first, *window, *self.tokenizer.last]}


def peer(steps: int, batches: int | None) -> dict[str, float]:
    """Train by `transformers.Trainer`; {seconds, loss, parameters}."""
    import transformers

    recipe, prepared = load_recipe(RECIPE, ROOT), Paths(RECIPE, ROOT).prepared
    model, vocabulary = recipe.model, Shards(prepared, "train").vocab_size
    config = transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=model.width, num_hidden_layers=model.layers, num_attention_heads=model.heads,
        intermediate_size=4 * model.width, max_position_embeddings=model.context, type_vocab_size=1,
    )  # fmt: skip
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(prepared / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    torch.manual_seed(recipe.train.seed)
    network = transformers.BertForMaskedLM(config)
    with TemporaryDirectory(prefix="metroline-benchmark-") as temporary:
        options = transformers.TrainingArguments(
            output_dir=temporary, max_steps=steps, per_device_train_batch_size=recipe.train.batch, learning_rate=RATE,
            weight_decay=0.01, warmup_steps=steps // 10, lr_scheduler_type="linear", use_cpu=True, save_strategy="no",
            report_to=[], disable_tqdm=True, logging_steps=50, seed=recipe.train.seed,
        )  # fmt: skip
        collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
        trainer = transformers.Trainer(network, options, data_collator=collator, train_dataset=Rows(recipe, prepared))
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started

    def score(made: Hidden) -> torch.Tensor:
        tokens = torch.from_numpy(made.tokens)
        logits = network(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
        return logits.flatten(0, 1)[torch.from_numpy(made.hidden)]

    loss = judged(recipe, prepared, network.eval(), score, batches)
    return {"seconds": seconds, "loss": loss, "parameters": network.num_parameters()}


def ours(folder: Path, steps: int, batches: int | None) -> dict[str, float]:
    """Train the recipe in a project below `folder`; {seconds, loss, parameters}."""
    paths = Paths(RECIPE, folder)
    paths.prepared.parent.mkdir(parents=True)
    paths.prepared.symlink_to(Paths(RECIPE, ROOT).prepared.resolve())
    recipes = folder / "pipelines/recipes"
    recipes.mkdir(parents=True)
    values = read_yaml(ROOT / f"pipelines/recipes/{RECIPE}.yaml")
    values["train"] |= {"steps": steps, "evaluate_every": min(steps, values["train"]["evaluate_every"])}
    (recipes / f"{RECIPE}.yaml").write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    train(paths)
    seconds = sum(line["steps"] * line["step_s"] + line.get("save_s", 0.0) for line in timing(paths))
    recipe, network = load_recipe(RECIPE, folder), huggingface_masked.load(paths.checkpoint)

    def score(made: Hidden) -> torch.Tensor:
        return network.logits(network(torch.from_numpy(made.tokens), torch.from_numpy(made.hidden)))

    loss = judged(recipe, paths.prepared, network, score, batches)
    return {"seconds": seconds, "loss": loss, "parameters": sum(weight.numel() for weight in network.parameters())}


@torch.no_grad()
def judged(recipe: Recipe, prepared: Path, network: torch.nn.Module, score: Score, batches: int | None) -> float:
    """Nats per hidden token of the test split, or of its first batches."""
    assert not network.training
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    nats = [torch.nn.functional.cross_entropy(score(made).float(), torch.from_numpy(made.targets), reduction="none")
            for made in islice(held_out(recipe, tokenizer, Shards(prepared, "test")), batches)]  # fmt: skip
    return float(torch.cat(nats).double().mean())


def floor(batches: int | None) -> float:
    """The same of how often each token stands in train."""
    recipe, prepared = load_recipe(RECIPE, ROOT), Paths(RECIPE, ROOT).prepared
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    shares = unigram(Shards(prepared, "train"), tokenizer)
    found = [made.targets for made in islice(held_out(recipe, tokenizer, Shards(prepared, "test")), batches)]
    return float(-np.log(shares[np.concatenate(found)]).mean())


def in_process(which: str, steps: int, batches: int | None) -> dict[str, float]:
    """`ours` or `peer` in a process of its own; with its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "benchmarks.masked_lm", "--run", which, "--steps", str(steps)]
    command += ["--batches", str(batches)] if batches else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) | {"cpu_s": cpu}
    say(f"{which}: {found['loss']:.4f} in {found['seconds']:.1f} s of training, {cpu:.1f} CPU seconds in all")
    return found


def verdict(own: dict[str, float], other: dict[str, float], steps: int, unigram_loss: float) -> dict[str, Any]:
    """The last line."""
    ratio = own["seconds"] / other["seconds"]
    return {
        "name": "masked_lm",
        "value": round(own["loss"], 4),
        "unit": f"nats per hidden token of the test split, {steps} steps",
        "baseline": round(other["loss"], 4),
        "ratio": round(ratio, 4),
        "accept": "value <= baseline, ratio (of seconds) <= 1 (aim 0.5)",
        "ok": own["loss"] <= other["loss"] and ratio <= 1 and own["parameters"] <= 1.01 * other["parameters"],
        "seconds": round(own["seconds"], 1),
        "baseline_seconds": round(other["seconds"], 1),
        "cpu_s": round(own["cpu_s"], 1),
        "baseline_cpu_s": round(other["cpu_s"], 1),
        "parameters": own["parameters"],
        "baseline_parameters": other["parameters"],
        "unigram": round(unigram_loss, 4),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masked_lm")
    parser.add_argument("--steps", type=int, default=load_recipe(RECIPE, ROOT).train.steps)
    parser.add_argument("--batches", type=int, help="batches of the test split that count; default: all")
    parser.add_argument("--run", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run == "peer":
        print(json.dumps(peer(options.steps, options.batches)))
    elif options.run == "ours":
        with TemporaryDirectory(prefix="metroline-benchmark-") as temporary:
            print(json.dumps(ours(Path(temporary), options.steps, options.batches)))
    else:
        if not (Paths(RECIPE, ROOT).prepared / "index.json").is_file():
            raise MetrolineError(f"{RECIPE} is not prepared", hint=f"metroline stage fetch {RECIPE}, then prepare")
        other = in_process("peer", options.steps, options.batches)
        own = in_process("ours", options.steps, options.batches)
        report(**verdict(own, other, options.steps, floor(options.batches)))


if __name__ == "__main__":
    main()
