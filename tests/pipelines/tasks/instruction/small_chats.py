"""A recipe of instruction tuning on a tiny chat model: prepared in a second, trained in a few."""

from pathlib import Path
from typing import Any

from data.text.chat_rows import InstructionsConfig
from data.text.instructions import prepare
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe
from tests import chats

CHAT = {"user": "{instruction}\n{input}", "assistant": "{output}"}
TRAIN = {"steps": 60, "batch": 4, "sequence": 128, "lr": 0.01, "warmup": 3, "evaluate_every": 20, "save_every": 30,
         "device": "cpu", "precision": "fp32", "compile": "off"}  # fmt: skip


def values(**sections: Any) -> dict[str, Any]:
    """What stands in its YAML file; sections given here take the place of its own."""
    nowhere = {"kind": "file", "path": "nowhere", "sha256": "0" * 64}
    return {
        "name": "taught", "description": "colours of things", "licence": "made up for tests", "source": nowhere,
        "pretrained": {"source": nowhere},
        "data": {"chat": CHAT, "duplicates": {"near": False}, "length": 128},
        "split": {"valid": 0.1, "test": 0.2},
        "task": {"kind": "instruction"},
        "train": TRAIN,
        "evaluate": {"answers": 8, "answer_tokens": 16, "resamples": 1000, "reference_tokens": 16,
                     "plain_text": {"tokens": 256, "context": 64}},
        "export": {"lengths": (1, 7), "int8_tokens": 256, "calibration_tokens": 256, "torchscript": False,
                   "pt2": False},
        **sections,
    }  # fmt: skip


def recipe(**sections: Any) -> Recipe:
    """The recipe `taught`, with other sections where given."""
    return Recipe.of(values(**sections))


def prepared(root: Path, rows: list[Any] | None = None, made: Recipe | None = None, context: int = 128) -> Paths:
    """The first weights, and prepared rows."""
    paths, made = Paths("taught", root), made or recipe()
    rows = chats.rows() if rows is None else rows
    chats.fetched(paths.raw, chats.write_rows(paths.raw / "files/rows.jsonl", rows))
    chats.model(paths.pretrained, context=context)
    assert isinstance(made.data, InstructionsConfig)
    prepare(paths.raw, paths.prepared, made.data, made.split, paths.pretrained)
    return paths
