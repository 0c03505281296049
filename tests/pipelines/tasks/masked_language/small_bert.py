"""A BERT of one layer, pretrained for seconds on four presidents' messages."""

from pathlib import Path
from typing import Any

from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from tests.pipelines.tasks.raw_files import write_raw

SPEECHES = Path(__file__).resolve().parents[4] / "data/examples/speeches"
TRAIN = {"steps": 120, "batch": 16, "sequence": 32, "optimizer": "muon", "lr": 0.02, "adam_lr": 0.006,
         "evaluate_every": 60, "device": "cpu", "precision": "fp32", "compile": "off"}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    """Its recipe."""
    values: dict[str, Any] = {
        "name": "small-bert",
        "description": "speeches",
        "licence": "none",
        "source": {"kind": "file", "path": "speeches", "sha256": "0" * 64},
        "data": {
            "documents": {"separator": "\n\n"},
            "clean": {"min_characters": 20},
            "tokenizer": {"kind": "wordpiece", "vocabulary": 400},
        },
        "split": {"method": "hash", "valid": 0.1, "test": 0.2},
        "task": {"kind": "masked-language", "rate": 0.3},
        "model": {"kind": "encoder", "layers": 1, "width": 32, "heads": 2, "context": 32, "dropout": 0.1},
        "train": TRAIN,
        "evaluate": {"examples": ["the people of the [MASK] states."]},
        "export": {"batch_sizes": [1, 5], "lengths": [1, 7], "golden": 4, "int8_items": 64, "int8_tolerance": 0.1},
    }
    return Recipe.of(values | changes)


def prepared(root: Path, made: Recipe) -> Paths:
    """Raw files as fetched, and prepared."""
    paths = Paths(made.name, root)
    write_raw(paths.raw, {path.name: path.read_bytes() for path in sorted(SPEECHES.glob("*.txt"))})
    kinds.task("masked-language")(made).prepare(paths.raw, paths.prepared, None)
    return paths
