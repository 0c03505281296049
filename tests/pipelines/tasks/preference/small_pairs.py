"""A recipe of preference tuning on a tiny chat model: prepared in a second, trained in a few."""

from pathlib import Path
from typing import Any

from data.text.instructions import prepare
from data.text.preferences import PreferencesConfig
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe
from tests import chats

CHAT = {"user": "{instruction}"}
TRAIN = {"steps": 40, "batch": 8, "sequence": 128, "lr": 0.003, "weight_decay": 0.0, "warmup": 3, "evaluate_every": 10,
         "save_every": 7, "log_every": 3, "device": "cpu", "precision": "fp32", "compile": "off",
         "adapter": {"kind": "lora", "rank": 8, "alpha": 16}}  # fmt: skip


def rows() -> list[Any]:
    """Questions with a friendly answer and a rude one."""
    return [{"instruction": row["instruction"], "chosen": f"{row['output']}, please",
             "rejected": f"go: {row['output']}"} for row in chats.rows()]  # fmt: skip


def values(**sections: Any) -> dict[str, Any]:
    """What stands in its YAML file; sections given here take the place of its own."""
    nowhere = {"kind": "file", "path": "nowhere", "sha256": "0" * 64}
    return {
        "name": "polite", "description": "manners", "licence": "made up for tests", "source": nowhere,
        "pretrained": {"source": nowhere},
        "data": {"chat": CHAT, "duplicates": {"near": False}, "length": 128},
        "split": {"valid": 0.1, "test": 0.2},
        "task": {"kind": "preference"},
        "train": TRAIN,
        "evaluate": {"answers": 8, "answer_tokens": 16, "resamples": 1000, "reference_tokens": 16,
                     "plain_text": {"tokens": 256, "context": 64}},
        "export": {"lengths": (1, 7), "int8_tokens": 256, "calibration_tokens": 256, "torchscript": False,
                   "pt2": False},
        **sections,
    }  # fmt: skip


def recipe(**sections: Any) -> Recipe:
    """The recipe `polite`, with other sections where given."""
    return Recipe.of(values(**sections))


def prepared(root: Path, given: list[Any] | None = None, made: Recipe | None = None) -> Paths:
    """The first weights, and prepared pairs."""
    paths, made = Paths("polite", root), made or recipe()
    chats.fetched(paths.raw, chats.write_rows(paths.raw / "files/rows.jsonl", rows() if given is None else given))
    chats.model(paths.pretrained)
    assert isinstance(made.data, PreferencesConfig)
    prepare(paths.raw, paths.prepared, made.data, made.split, paths.pretrained)
    return paths
