"""A line of images up to the checkpoint in seconds: two shapes in PNG files of several sizes, and a small LeNet."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe
from tests.pipelines.tasks import raw_files

torch.set_num_threads(1)


def png(label: str, generator: np.random.Generator, size: tuple[int, int]) -> bytes:
    """Bars that stand or lie, on noise."""
    pixels = generator.integers(0, 80, (*size, 1), dtype=np.uint8).repeat(3, 2)
    at = generator.integers(size[0] // 4, size[0] // 2)
    if label == "lying":
        pixels[at : at + size[0] // 4] += 25
    else:
        pixels[:, at : at + size[0] // 4] += 25
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_raw(raw: Path, count: int = 120) -> None:
    """A fetched folder of them; every fifth image has another size."""
    generator, files = np.random.default_rng(3), {}
    for number in range(count):
        label = "lying" if number % 2 else "standing"
        files[f"{label}/{number}.png"] = png(label, generator, (20, 23) if number % 5 == 0 else (12, 12))
    raw_files.write_raw(raw, files)


def recipe(**changes: Any) -> Recipe:
    """LeNet on them."""
    values: dict[str, Any] = {
        "name": "bars",
        "description": "bars",
        "licence": "none",
        "source": {"kind": "file", "path": "bars", "sha256": "0" * 64},
        "data": {"kind": "images", "height": 12, "width": 12, "channels": 3, "flip": True, "shift": 1},
        "split": {"valid": 0.2, "test": 0.3},
        "task": {"kind": "classification", "threshold": "f1"},
        "model": {"kind": "lenet", "widths": [4, 8], "hidden": 8},
        "train": {"steps": 40, "batch": 16, "lr": 0.005, "evaluate_every": 20, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "export": {"batch_sizes": [1, 5], "golden": 6, "int8_tolerance": 0.3},
        "evaluate": {"references": False},
        "serving": {"precision": "fp32"},
    }  # fmt: skip
    return Recipe.of(values | changes)


def trained(root: Path) -> tuple[Recipe, Paths]:
    """Prepare and train."""
    from pipelines.recipe import kinds
    from pipelines.training.stage import train

    made, paths = recipe(), Paths("bars", root)
    write_raw(paths.raw)
    kinds.task("classification")(made).prepare(paths.raw, paths.prepared, None)
    train(made, paths)
    return made, paths
