"""A series of two channels with a daily wave, as a CSV that fetch could have left."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from base.files import sha256, write_json
from pipelines.recipe.schema import Recipe

STEPS = 700
START = datetime.datetime(2024, 1, 1)


def recipe(**changes: Any) -> Recipe:
    """Two days of hours back, half a day ahead."""
    values: dict[str, Any] = {
        "name": "waves",
        "description": "waves",
        "licence": "none",
        "source": {"kind": "file", "path": "waves.csv", "sha256": "0" * 64},
        "data": {"kind": "series", "context": 48, "gaps": "fill"},
        "split": {"method": "time", "by": "time", "valid": 0.2, "test": 0.2},
        "task": {"kind": "forecasting", "horizon": 12},
        "model": {"kind": "ltsf-linear"},
        "train": {"steps": 120, "batch": 16, "lr": 0.003, "weight_decay": 0.0, "evaluate_every": 60, "save_every": 60,
                  "device": "cpu", "precision": "fp32", "compile": "off"},
        "export": {"int8": False, "golden": 4, "batch_sizes": [1, 3]},
    }  # fmt: skip
    return Recipe.of(values | changes)


def values(steps: int = STEPS) -> np.ndarray:
    """Two waves of unlike size and level, with noise: [steps, 2]."""
    dice, at = np.random.default_rng(1), np.arange(steps)
    load = 500 + 100 * np.sin(at / 24 * 2 * np.pi) + 10 * dice.normal(size=steps)
    wind = 3 + np.cos(at / 24 * 2 * np.pi) + 0.2 * dice.normal(size=steps)
    return np.stack([load, wind], 1)


def rows(steps: int = STEPS, missing: tuple[int, ...] = (80,), left_out: tuple[int, ...] = (300, 301)) -> list[str]:
    """Lines of CSV; `missing`: without a value of `wind`; `left_out`: no row at all."""
    numbers = values(steps)
    return [
        f"{START + datetime.timedelta(hours=step)},{load:.2f},{'' if step in missing else f'{wind:.3f}'}"
        for step, (load, wind) in enumerate(numbers)
        if step not in left_out
    ]


def write_raw(raw: Path, lines: list[str] | None = None, head: str = "time,load,wind") -> None:
    path = raw / "files/waves.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([head, *(rows() if lines is None else lines)]) + "\n")
    write_json(raw / "source.json", {"kind": "file", "files": {"waves.csv": {"sha256": sha256(path)}}})
