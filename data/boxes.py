"""Boxes around things in an image: rows of numbers out of the graph, and answers.

A row is x1, y1, x2, y2, score, the label's place. The graph gives them in fractions of the image's sides, since it sees
images in one size; `in_pixels` makes pixels of the image that was sent of them. An answer is what Hugging Face's object
detection says, [{"label", "score", "box": {"xmin", "ymin", "xmax", "ymax"}}], the best first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data.signature import BoxesOutput, Signature

Rows = npt.NDArray[Any]
SIDES = ("xmin", "ymin", "xmax", "ymax")
SCORE, LABEL, COLUMNS = 4, 5, 6
"""Places in a row, and how many it has."""


def in_pixels(rows: Rows, height: int, width: int) -> Rows:
    """Rows [..., 6] in fractions of an image's sides → in its pixels."""
    return (rows * np.array([width, height, width, height, 1, 1])).astype(rows.dtype)


def finished(signature: Signature, decoded: Sequence[npt.NDArray[Any]], outputs: Sequence[Rows]) -> tuple[Rows, ...]:
    """Outputs of one item as they are said: boxes in pixels of the decoded image, all others as they are."""
    size = decoded[0].shape[:2] if decoded and signature.inputs[0].kind == "image" else (1, 1)
    return tuple(
        in_pixels(array, *size) if isinstance(output, BoxesOutput) else array
        for output, array in zip(signature.outputs, outputs, strict=True)
    )


def worded(output: BoxesOutput, rows: Rows, top: int | None = None, threshold: float | None = None) -> list[Any]:
    """Rows [most, 6] → the answer: boxes from `threshold` on (None: the signature's), `top` of them at most."""
    least = max(output.threshold if threshold is None else threshold, output.least)
    return [
        {"label": output.labels[int(row[LABEL])], "score": float(row[SCORE]),
         "box": dict(zip(SIDES, map(float, row[:SCORE]), strict=True))}
        for row in rows[rows[:, SCORE] >= least][:top]
    ]  # fmt: skip


def rows_of(output: BoxesOutput, value: Any) -> Rows:
    """float64 [boxes, 6], without empty rows. `value`: rows [most, 6], their numbers, or the answer.

    Raises KeyError, TypeError, ValueError: it is something else.
    """
    if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
        value = [[*(each["box"][side] for side in SIDES), each["score"], output.labels.index(each["label"])]
                 for each in value]  # fmt: skip
    rows = np.asarray(value, np.float64).reshape(-1, COLUMNS)
    return rows[rows[:, SCORE] > 0]


def overlaps(one: Rows, other: Rows) -> npt.NDArray[np.float64]:
    """Boxes [n, 4 or more] and [m, 4 or more] → their intersection over union [n, m] (Jaccard 1912)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:4], other[None, :, 2:4])
    both = (high - low).clip(0).prod(2)
    areas = [(rows[:, 2:4] - rows[:, :2]).clip(0).prod(1) for rows in (one, other)]
    found: npt.NDArray[np.float64] = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-12)
    return found


def apart(wanted: Rows, given: Rows, least: float) -> float:
    """The largest difference of two lists of rows, whatever their order: of a score, or of a side relative to the box's
    size. A box that only one of them has counts as far as its score is above `least`, from which on there are boxes."""
    worst = 0.0
    for some, others in ((wanted, given), (given, wanted)):
        for row in some[some[:, SCORE] >= least]:
            alone = float(row[SCORE] - least)
            alike = others[others[:, LABEL] == row[LABEL]]
            size = max(row[2] - row[0], row[3] - row[1], 1e-12)
            sides = np.abs(alike[:, :SCORE] - row[:SCORE]).max(1, initial=0) / size
            score = np.abs(alike[:, SCORE] - row[SCORE])
            worst = max(worst, min([alone, *np.maximum(sides, score).tolist()]))
    return worst
