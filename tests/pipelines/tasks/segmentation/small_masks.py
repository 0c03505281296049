"""A fetched folder of grey images with bright discs, and their masks."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.recipe.schema import Recipe
from tests.pipelines.tasks import raw_files


def png(grey: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def pair(dice: np.random.Generator, size: tuple[int, int] = (32, 32)) -> tuple[np.ndarray, np.ndarray]:
    """A disc on noise that is as bright in places, so that brightness alone does not tell it; and its mask."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    y, x, radius = dice.uniform(8, 24), dice.uniform(8, 24), dice.uniform(5, 9)
    disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    image = np.where(disc, 130, 90) + dice.normal(0, 45, size)
    return image.clip(0, 255), np.where(disc, 255, 0)


def write_raw(raw: Path, count: int = 24, **more: bytes) -> None:
    """`more`: files beside them or in their place, `image__3_png=...`."""
    dice, files = np.random.default_rng(7), {}
    for number in range(count):
        image, mask = pair(dice, (48, 40) if number == 5 else (32, 32))
        files |= {f"image/{number}.png": png(image), f"mask/{number}.png": png(mask)}
    files |= {name.replace("__", "/").replace("_png", ".png"): content for name, content in more.items()}
    raw_files.write_raw(raw, files)


def recipe(**changes: Any) -> Recipe:
    """A small U-Net on them."""
    values: dict[str, Any] = {
        "name": "discs",
        "description": "discs",
        "licence": "none",
        "source": {"kind": "file", "path": "discs", "sha256": "0" * 64},
        "data": {"kind": "image-masks", "labels": {"ground": 0, "disc": 255}, "height": 32, "width": 32, "channels": 1,
                 "crop": 24, "turn": True, "jitter": 0.1},
        "split": {"method": "given", "given": {"test": "/[0-5][.]png", "valid": "/[67][.]png"}},
        "task": {"kind": "segmentation"},
        "model": {"kind": "unet", "widths": [6, 12]},
        "train": {"steps": 100, "batch": 4, "lr": 0.01, "evaluate_every": 50, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "export": {"batch_sizes": [1, 2], "golden": 3, "int8": False},
    }  # fmt: skip
    return Recipe.of(values | changes)
