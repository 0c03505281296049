"""A recipe of reinforcement learning: a tiny decoder has seen objects and lists, and only objects are wanted."""

import shutil
from pathlib import Path
from typing import Any

from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from pipelines.training.stage import train
from tests import chats

NOWHERE = {"kind": "file", "path": "nowhere", "sha256": "0" * 64}
DATA = {"documents": {"separator": "\n"}, "clean": {"min_letters": 0, "duplicates": {"near": False}}}
SPLIT = {"valid": 0.2, "test": 0.3}
TASK = {"kind": "reinforcement", "reward": "json", "group": 6, "answer_tokens": 4}
TRAIN = {"steps": 24, "batch": 12, "lr": 0.002, "weight_decay": 0.0, "warmup": 2, "evaluate_every": 8, "save_every": 6,
         "log_every": 4, "device": "cpu", "precision": "fp32", "compile": "off"}  # fmt: skip
BEFORE = {"steps": 80, "batch": 12, "sequence": 16, "lr": 0.01, "isolate_documents": True, "evaluate_every": 80,
          "device": "cpu", "precision": "fp32", "compile": "off"}  # fmt: skip


def values(**sections: Any) -> dict[str, Any]:
    """What stands in its YAML file; sections given here take the place of its own."""
    return {
        "name": "adder", "description": "brackets", "licence": "made up for tests", "source": NOWHERE,
        "pretrained": {"source": NOWHERE}, "data": {**DATA, "tokenizer": {"kind": "pretrained"}}, "split": SPLIT,
        "task": TASK, "train": TRAIN, "evaluate": {"resamples": 500, "reference_tokens": 64},
        "export": {"lengths": (1, 7), "batch_sizes": (1, 2), "int8_tokens": 128, "calibration_tokens": 128,
                   "torchscript": False, "pt2": False},
        **sections,
    }  # fmt: skip


def recipe(**sections: Any) -> Recipe:
    """The recipe `adder`, with other sections where given."""
    return Recipe.of(values(**sections))


def prepared(root: Path) -> Paths:
    """First weights, trained for a moment on the same train split, and prepared prompts."""
    paths, first = Paths("adder", root), Paths("novice", root)
    raw = first.raw / "files/brackets.txt"
    raw.parent.mkdir(parents=True)
    raw.write_text("\n".join(f"{number}= {'{}' if number % 2 else '[]'}" for number in range(100)))
    chats.fetched(first.raw, raw)
    model = {"context": 16, "layers": 2, "width": 48, "heads": 1, "head_dim": 48, "qk_norm": True}
    before = Recipe.of({
        **values(), "name": "novice", "pretrained": {}, "task": {"kind": "language-modelling"}, "evaluate": {},
        "data": {**DATA, "tokenizer": {"kind": "bpe", "vocabulary": 258}}, "model": model, "train": BEFORE,
    })  # fmt: skip
    kinds.task("language-modelling")(before).prepare(first.raw, first.prepared, None)
    train(before, first)
    files = paths.pretrained / "files"
    shutil.copytree(first.checkpoint, files)
    chats.fetched(paths.pretrained, *sorted(path for path in files.iterdir() if path.is_file()))
    shutil.copytree(first.raw, paths.raw, dirs_exist_ok=True)
    kinds.task("reinforcement")(recipe()).prepare(paths.raw, paths.prepared, files)
    return paths
