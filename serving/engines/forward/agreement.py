"""Whether two models of one call say the same of an item, in the words of their own signatures: a label that stands in
another place is another label."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from data.boxes import LABEL, SCORE, overlaps
from data.ctc import worded
from data.signature import (
    BoxesOutput,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    Output,
    Signature,
    TranscriptOutput,
)
from serving.engines.forward.answers import chosen
from serving.engines.forward.graph import Array

NEAR = 0.1
"""Numbers and vectors are alike when their distance is at most this share of the longer one; of a mask so many pixels
may have another label, of a transcript so many words be others."""

NEAR_BOXES = 0.25
"""Share of the boxes that only one of two answers may have."""
SAME_BOX = 0.5
"""Intersection over union from which on two boxes are of one thing."""

Answer = tuple[Output, Array]


def agreement(
    signature: Signature, outputs: Sequence[Array], other: Signature, others: Sequence[Array]
) -> tuple[bool, float]:
    """(whether they are alike, how far apart at most), over all outputs. An output that the other lacks is not alike.

    Apart: of labels the largest difference of a score; of boxes, from the threshold on, the share that only one of the
    two has; of transcripts that of words; of a mask the share of pixels with another label; of numbers the distance by
    the longer one's length.
    """
    given = {output.name: (output, array) for output, array in zip(other.outputs, others, strict=True)}
    found = [
        _one((output, array), given[output.name]) if output.name in given else (False, 1.0)
        for output, array in zip(signature.outputs, outputs, strict=True)
    ]
    return all(alike for alike, _ in found), max(apart for _, apart in found)


def _one(first: Answer, second: Answer) -> tuple[bool, float]:
    (output, array), (other, numbers) = first, second
    if isinstance(output, LabelsOutput) and isinstance(other, LabelsOutput):
        scores = dict(zip(other.labels, numbers.reshape(-1).tolist(), strict=True))
        own = dict(zip(output.labels, array.reshape(-1).tolist(), strict=True))
        apart = max(abs(own.get(label, 0.0) - scores.get(label, 0.0)) for label in {*own, *scores})
        return output.labels[chosen(output, array)] == other.labels[chosen(other, numbers)], apart
    if isinstance(output, TranscriptOutput) and isinstance(other, TranscriptOutput):
        one, two = worded(output, array)["text"].split(), worded(other, numbers)["text"].split()
        apart = 1 - SequenceMatcher(None, one, two, autojunk=False).ratio()
        return apart <= NEAR, apart
    if isinstance(output, MaskOutput) and isinstance(other, MaskOutput):
        if array.shape[1:] != numbers.shape[1:]:
            return False, 1.0
        names = np.array(output.labels)[array.argmax(0)], np.array(other.labels)[numbers.argmax(0)]
        apart = float((names[0] != names[1]).mean())
        return apart <= NEAR, apart
    if isinstance(output, BoxesOutput) and isinstance(other, BoxesOutput):
        apart = _boxes((output, array), (other, numbers))
        return apart <= NEAR_BOXES, apart
    if isinstance(output, NumbersOutput) and isinstance(other, NumbersOutput) and output.names != other.names:
        if set(output.names) != set(other.names):
            return False, 1.0
        numbers = numbers.reshape(-1)[[other.names.index(name) for name in output.names]]
    if output.kind != other.kind or array.size != numbers.size:
        return False, 1.0
    a, b = array.reshape(-1).astype(np.float64), numbers.reshape(-1).astype(np.float64)
    longer = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    apart = float(np.linalg.norm(a - b)) / longer if longer else 0.0
    return apart <= NEAR, apart


def _boxes(first: tuple[BoxesOutput, Array], second: tuple[BoxesOutput, Array]) -> float:
    """The share of both answers' boxes that have no like of their label in the other."""
    (output, rows), (other, others) = (_sure(*each) for each in (first, second))
    if not len(rows) + len(others):
        return 0.0
    names = np.array(output.labels)[rows[:, LABEL].astype(int)], np.array(other.labels)[others[:, LABEL].astype(int)]
    alike = np.greater_equal(overlaps(rows, others), SAME_BOX) & (names[0][:, None] == names[1][None])
    met = int(alike.any(1).sum()) + int(alike.any(0).sum())
    return 1 - met / (len(rows) + len(others))


def _sure(output: BoxesOutput, rows: Array) -> tuple[BoxesOutput, Array]:
    """The boxes that are answered."""
    return output, rows[np.greater_equal(rows[:, SCORE], output.threshold)]
