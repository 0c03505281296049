"""A recipe of distillation: a teacher of two layers that knows the grammar, and a student with little text."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from tests import chats
from tests.pipelines import small_line

TASK = {"kind": "distillation", "k": 8, "weight": 0.5, "context": 24}
MODEL = {"context": 32, "layers": 1, "width": 32, "heads": 1, "head_dim": 32}
TRAIN = {"steps": 160, "batch": 8, "sequence": 32, "lr": 0.01, "warmup": 3, "clip": 0, "evaluate_every": 40,
         "save_every": 40, "device": "cpu", "precision": "fp32", "compile": "off"}  # fmt: skip


def values(**sections: Any) -> dict[str, Any]:
    """What stands in its YAML file; sections given here take the place of its own."""
    nowhere = {"kind": "file", "path": "nowhere", "sha256": "0" * 64}
    return {
        "name": "pupil", "description": "sentences about a congress", "licence": "made up for tests",
        "source": nowhere, "pretrained": {"source": nowhere},
        "data": {"documents": {"separator": "\n\n"}, "clean": {"duplicates": {"near": False}},
                 "tokenizer": {"kind": "pretrained"}},
        "split": {"valid": 0.2, "test": 0.3},
        "model": MODEL, "task": TASK, "train": TRAIN,
        "evaluate": {"resamples": 500, "reference_tokens": 16, "sample_tokens": 8},
        "export": {"lengths": (1, 7), "int8_tokens": 256, "calibration_tokens": 256, "torchscript": False,
                   "pt2": False},
        **sections,
    }  # fmt: skip


def recipe(**sections: Any) -> Recipe:
    """The recipe `pupil`, with other sections where given."""
    return Recipe.of(values(**sections))


def fetched(root: Path, documents: int = 36) -> Paths:
    """The teacher's checkpoint and raw text, as `fetch` leaves them."""
    paths, other = Paths("pupil", root), Paths("master", root)
    small_line.prepare(other.prepared)
    small_line.checkpoint(other, steps=150)
    files = paths.pretrained / "files"
    shutil.copytree(other.checkpoint, files)
    chats.fetched(paths.pretrained, *sorted(files.iterdir()))
    generator = np.random.default_rng(7)
    text = "\n\n".join(small_line.text(generator, int(generator.integers(3, 12))) for _ in range(documents))
    raw = paths.raw / "files/text.txt"
    raw.parent.mkdir(parents=True)
    raw.write_text(text)
    chats.fetched(paths.raw, raw)
    return paths


def prepare(paths: Paths, made: Recipe | None = None) -> None:
    """Stage `prepare`."""
    made = made or recipe()
    kinds.task("distillation")(made).prepare(paths.raw, paths.prepared, paths.pretrained / "files")
