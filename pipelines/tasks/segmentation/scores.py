"""How good masks are, over all pixels of a split together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.interface import Primary

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

Masks = NDArray[Any]


def subject(recipe: "Recipe") -> int:
    """The place of the label whose overlap is measured."""
    labels = list(recipe.data.labels)
    return labels.index(recipe.task.subject) if recipe.task.subject else len(labels) - 1


def primary(recipe: "Recipe") -> Primary:
    """The value that says how good a model is."""
    name = recipe.evaluate.primary
    return Primary(f"test.{name}", "lower" if name == "pixel_error" else "higher", f"baselines.floor_{name}")


def scores(given: Masks, wanted: Masks, labels: int, subject: int) -> dict[str, float]:
    """Of label places [...]: pixel_error, the share that is wrong; dice, twice the overlap of `subject` over the sum of
    both areas (Dice 1945); mean_iou, overlap over union (Jaccard 1912), the mean of the labels that occur."""
    counts = np.bincount(wanted.astype(np.int64).ravel() * labels + given.ravel(), minlength=labels**2)
    table = counts.reshape(labels, labels)
    right, either = np.diag(table), table.sum(0) + table.sum(1)
    there = either > 0
    return {
        "pixel_error": float(1 - right.sum() / table.sum()),
        "dice": float(2 * right[subject] / max(1, either[subject])),
        "mean_iou": float((right[there] / (either - right)[there]).mean()),
    }


def threshold(images: Sequence[NDArray[np.uint8]], masks: Masks, labels: int) -> tuple[int, int, int]:
    """What tells labels apart by brightness alone, on these images: (border, label below it, label from it on), the one
    with the fewest wrong pixels; one label everywhere is among them."""
    grey = np.stack([image.mean(2) for image in images]).round().astype(np.int64)
    counts = np.stack([np.bincount(grey[masks == label], minlength=256) for label in range(labels)])
    below = np.concatenate(
        [np.zeros((labels, 1), np.int64), counts.cumsum(1)], 1
    )  # [labels, 257]: darker than a border
    above = counts.sum(1, keepdims=True) - below
    border = int((below.max(0) + above.max(0)).argmax())
    return border, int(below[:, border].argmax()), int(above[:, border].argmax())


def by_threshold(images: Sequence[NDArray[np.uint8]], found: tuple[int, int, int]) -> Masks:
    """The masks that it gives."""
    border, dark, bright = found
    return np.stack([np.where(image.mean(2).round() < border, dark, bright) for image in images])
