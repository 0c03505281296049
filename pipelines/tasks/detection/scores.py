"""How good boxes are: mean average precision by pycocotools, and what is right at the threshold of the answer."""

import contextlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from data.boxes import LABEL, SCORE, Rows, overlaps
from pipelines.tasks.interface import Primary

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

RIGHT = 0.5
"""Overlap from which on a box is found."""


def primary(recipe: "Recipe") -> Primary:
    """The value that says how good a model is."""
    name = recipe.evaluate.primary
    return Primary(f"test.{name}", "higher", f"baselines.floor_{name}")


def average_precision(
    given: Sequence[Rows], wanted: Sequence[NDArray[Any]], sizes: Sequence[tuple[int, int]], labels: int
) -> tuple[dict[str, float], list[float]]:
    """{map50, map}: COCO's mean average precision at an overlap of 0.5, and the mean of 0.5 to 0.95; and that at 0.5 of
    each label, NaN where no image has it. Of each image: rows [boxes, 6] and boxes [boxes, 5] in fractions, (H, W).

    Raises MetrolineError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise MetrolineError(
            "mean average precision needs pycocotools", hint="pip install metroline[detection]"
        ) from None
    boxes: list[dict[str, Any]] = [
        {"image_id": image, "category_id": int(row[-1]), "bbox": _box(row, size)}
        for image, (rows, size) in enumerate(zip(wanted, sizes, strict=True)) for row in rows
    ]  # fmt: skip
    found = [
        {"image_id": image, "category_id": int(row[LABEL]), "bbox": _box(row, size), "score": float(row[SCORE])}
        for image, (rows, size) in enumerate(zip(given, sizes, strict=True)) for row in rows if row[SCORE] > 0
    ]  # fmt: skip
    if not boxes or not found:
        return {"map50": 0.0, "map": 0.0}, [0.0] * labels
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(wanted))],
            "categories": [{"id": label} for label in range(labels)],
            "annotations": [
                {**box, "id": number + 1, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
                for number, box in enumerate(boxes)
            ],
        }
        truth.createIndex()
        scored = COCOeval(truth, truth.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    precision = scored.eval["precision"][0, :, :, 0, -1]  # [recalls, labels] at 0.5; -1: the label is in no image
    each = [float(column.mean()) if (column > -1).all() else float("nan") for column in precision.T]
    return {"map50": max(0.0, float(scored.stats[1])), "map": max(0.0, float(scored.stats[0]))}, each


def _box(row: NDArray[Any], size: tuple[int, int]) -> list[float]:
    """x, y, width, height in pixels."""
    height, width = size
    x1, y1, x2, y2 = (float(value) for value in row[:4])
    return [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]


def hits(given: Sequence[Rows], wanted: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Scores of all boxes that were given, whether each is right, and how many there are to find: from the best score
    down, each takes the box of its label that it overlaps most, by RIGHT at least, and that is not taken."""
    scores, right = list[float](), list[bool]()
    for rows, boxes in zip(given, wanted, strict=True):
        overlap = np.where(rows[:, LABEL, None] == boxes[None, :, -1], overlaps(rows, boxes), 0.0)
        for place in np.argsort(-rows[:, SCORE], kind="stable"):
            if rows[place, SCORE] <= 0:
                continue
            best = int(overlap[place].argmax()) if len(boxes) else -1
            hit = best >= 0 and bool(overlap[place, best] >= RIGHT)
            if hit:
                overlap[:, best] = 0.0
            scores.append(float(rows[place, SCORE]))
            right.append(hit)
    return np.array(scores), np.array(right, np.bool_), sum(map(len, wanted))


def at_threshold(given: Sequence[Rows], wanted: Sequence[NDArray[Any]], threshold: float) -> dict[str, float]:
    """{precision, recall} of the boxes from this score on."""
    scores, right, there = hits(given, wanted)
    some = right[scores >= threshold]
    return {"precision": float(some.mean()) if some.size else 0.0, "recall": float(some.sum()) / max(1, there)}


def best_threshold(given: Sequence[Rows], wanted: Sequence[NDArray[Any]], otherwise: float) -> float:
    """The score from which on precision and recall have the best harmonic mean (F1), halfway to the next lower one."""
    scores, right, there = hits(given, wanted)
    if not right.any():
        return otherwise
    order = np.argsort(-scores, kind="stable")
    found = right[order].cumsum()
    best = int((2 * found / (np.arange(1, len(found) + 1) + there)).argmax())
    lower = scores[order[best + 1]] if best + 1 < len(order) else scores[order[best]]
    return float((scores[order[best]] + lower) / 2)
