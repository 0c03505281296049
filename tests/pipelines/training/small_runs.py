"""A tiny corpus on disk and recipes on it, so that a training run takes a second."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, models

from data.text.shards import ShardWriter, write_index
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe
from pipelines.training.loop import Trainer

torch.set_num_threads(1)  # small products, and other tests run beside

ROOT = Path(__file__).resolve().parents[3]
VOCABULARY = 20
MODEL = {"context": 16, "layers": 2, "width": 16, "heads": 2, "head_dim": 16, "hidden": 32, "qk_norm": True}
TRAIN = {
    "steps": 12, "batch": 4, "sequence": 16, "optimizer": "muon", "lr": 0.02, "adam_lr": 0.01, "warmup": 2,
    "evaluate_every": 4, "log_every": 2, "save_every": 3, "device": "cpu", "precision": "fp32",
}  # fmt: skip


def prepare(folder: Path, documents: dict[str, int] | None = None, seed: int = 0) -> None:
    """Write prepared data: documents of counting sequences, which a small model learns quickly. 0 ends each."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    entries = {}
    for split, count in (documents or {"train": 40, "valid": 8, "test": 4}).items():
        with ShardWriter(folder, split, vocab_size=VOCABULARY, eos=0) as writer:
            for number in range(count):
                begin, length = generator.integers(19), generator.integers(8, 40)
                tokens = 1 + (begin + np.arange(length)) % 19
                writer.add(f"{split}-{number}", tokens.astype(np.uint16), bytes_=int(length), meta={})
        entries[split] = writer.entry
    write_index(folder, entries, vocab_size=VOCABULARY, eos=0)
    vocabulary = {"<|endoftext|>": 0, **{chr(96 + n): n for n in range(1, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))


def recipe(model: dict[str, Any] | None = None, **train: Any) -> Recipe:
    """The recipe `mini`, with other values where given."""
    return Recipe.of(values(model, **train))


def values(model: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    """What stands in its YAML file."""
    return {
        "name": "mini",
        "description": "counting",
        "licence": "none",
        "source": {"kind": "file", "path": "nowhere.txt", "sha256": "0" * 64},
        "model": {**MODEL, **(model or {})},
        "train": {**TRAIN, **train},
    }


def project(root: Path, model: dict[str, Any] | None = None, **train: Any) -> Paths:
    """A folder with prepared data and the recipe as a file, for runs in processes of their own."""
    paths = Paths("mini", root)
    if not paths.prepared.exists():
        prepare(paths.prepared)
    write_recipe(root, model, **train)
    return paths


def write_recipe(root: Path, model: dict[str, Any] | None = None, **train: Any) -> None:
    """Write (or change) the recipe's file."""
    path = root / "pipelines/recipes/mini.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values(model, **train)))


def command(root: Path, *more: str, processes: int = 1, recipe: str = "mini") -> list[str]:
    """The command line that trains a recipe in `root`."""
    python = [sys.executable, "-m"]
    if processes > 1:
        python += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [*python, "pipelines.training.stage", recipe, "--root", str(root), *more]


def start(
    root: Path, *more: str, processes: int = 1, recipe: str = "mini", **environment: str
) -> subprocess.Popen[str]:
    """Start training in a process (group) of its own."""
    return subprocess.Popen(
        command(root, *more, processes=processes, recipe=recipe),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


class Killed(BaseException):
    """Stands for a process that ends between two instructions: nothing may handle it."""


@contextmanager
def killed_after(number: int) -> Iterator[None]:
    """Inside, a run ends between this step and the next."""
    step = Trainer.step

    def stop(self: Trainer) -> None:
        if self.counters.step == number:
            raise Killed
        step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        with pytest.raises(Killed):
            yield


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in and below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
