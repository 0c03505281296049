"""A fetched folder of images with discs and squares of one colour, and boxes around them in Pascal VOC's XML."""

import io
from typing import Any

import numpy as np
from PIL import Image

from pipelines.recipe.schema import Recipe

SIZE = 64
LABELS = ("disc", "square")
Box = tuple[str, int, int, int, int]


def png(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, form, **options)
    return out.getvalue()


def picture(dice: np.random.Generator, width: int = SIZE, height: int = SIZE) -> tuple[np.ndarray, list[Box]]:
    """One to three things apart from each other, each in a quarter of its own."""
    rows, columns = np.ogrid[:height, :width]
    image, boxes = dice.normal(90, 25, (height, width, 3)), list[Box]()
    for quarter in dice.permutation(4)[: dice.integers(1, 4)].tolist():
        radius, label = int(dice.integers(7, 13)), LABELS[int(dice.integers(2))]
        x = quarter % 2 * width // 2 + int(dice.integers(13, width // 2 - 12))
        y = quarter // 2 * height // 2 + int(dice.integers(13, height // 2 - 12))
        square = (abs(rows - y) <= radius) & (abs(columns - x) <= radius)
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        image[square if label == "square" else disc] += [60, 20, -20]
        boxes.append((label, x - radius, y - radius, x + radius + 1, y + radius + 1))
    return image.clip(0, 255), boxes


def voc(name: str, boxes: list[Box], width: int = SIZE, height: int = SIZE) -> bytes:
    """An image's annotation."""
    things = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, x1, y1, x2, y2 in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{things}</annotation>".encode()


def files(count: int = 40) -> dict[str, bytes]:
    """images/N.png and boxes/N.xml; number 3 is larger, number 7 has three boxes that are none."""
    dice, found = np.random.default_rng(3), dict[str, bytes]()
    for number in range(count):
        size = (96, 80) if number == 3 else (SIZE, SIZE)
        image, boxes = picture(dice, *size)
        if number == 7:
            boxes += [("disc", 9, 9, 9, 9), ("square", 70, 5, 90, 20), boxes[0]]
        found |= {f"images/{number}.png": png(image), f"boxes/{number}.xml": voc(f"{number}.png", boxes, *size)}
    return found


def recipe(**changes: Any) -> Recipe:
    """A small detector on them."""
    values: dict[str, Any] = {
        "name": "shapes",
        "description": "shapes",
        "licence": "none",
        "source": {"kind": "file", "path": "shapes", "sha256": "0" * 64},
        "data": {"kind": "image-boxes", "labels": LABELS, "height": SIZE, "width": SIZE, "mirror": True, "turn": True,
                 "zoom": 0.2, "jitter": 0.1},
        "split": {"method": "given", "given": {"test": "/[0-7][.]png", "valid": "/[89][.]png|/1[0-3][.]png"}},
        "task": {"kind": "detection", "most": 20},
        "model": {"kind": "fcos", "widths": [8, 16, 24], "head": 24, "halvings": 2},
        "train": {"steps": 150, "batch": 8, "lr": 0.01, "evaluate_every": 75, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "export": {"batch_sizes": [1, 2], "golden": 3, "int8": False},
    }  # fmt: skip
    return Recipe.of(values | changes)
