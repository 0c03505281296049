"""Answers of two releases are alike by their words, whatever the order of labels and names."""

import numpy as np
import pytest

from data.signature import (
    BoxesOutput,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    Output,
    SeriesOutput,
    Signature,
    TranscriptOutput,
    VectorOutput,
)
from serving.engines.forward.agreement import agreement
from tests.serving.forward_bundles import FLOWER

ABC = LabelsOutput(name="out", shape=(3,), labels=("a", "b", "c"))
CBA = LabelsOutput(name="out", shape=(3,), labels=("c", "b", "a"))
XY, YX = NumbersOutput(name="out", names=("x", "y")), NumbersOutput(name="out", names=("y", "x"))
VECTOR = VectorOutput(name="out", shape=(2,))
SERIES = SeriesOutput(name="out", channels=("x",))
MASK = MaskOutput(name="out", labels=("sky", "sea"))
SKY = np.stack([np.ones((4, 4)), np.zeros((4, 4))])
BOXES = BoxesOutput(name="out", shape=(4, 6), labels=("cat", "dog"), iou=0.5, least=0.05, threshold=0.5)
DOGS = BOXES.model_copy(update={"labels": ("dog", "cat")})
CAT, DOG, FAINT = [0.1, 0.1, 0.5, 0.5, 0.9, 0], [0.6, 0.6, 0.9, 0.9, 0.8, 1], [0.0, 0.0, 0.2, 0.2, 0.3, 0]
MOVED = [0.1, 0.1, 0.45, 0.5, 0.7, 0]
NONE = [0.0] * 6
HEARD = TranscriptOutput(name="out", shape=(-1, 3), alphabet=("", "a ", "b "), blank=0, step=0.02, beam=1)
TURNED = HEARD.model_copy(update={"alphabet": ("b ", "a ", ""), "blank": 2})
SURE = np.log(np.eye(3) + 1e-9)
AB, AA = SURE[[1, 0, 2, 0]], SURE[[1, 0, 1]]
HALF = SKY.copy()
HALF[:, :2] = HALF[::-1, :2]


@pytest.mark.parametrize(
    ("first", "array", "second", "other", "alike", "apart"),
    [
        (ABC, [0.7, 0.2, 0.1], ABC, [0.5, 0.4, 0.1], True, 0.2),
        (ABC, [0.7, 0.2, 0.1], CBA, [0.1, 0.2, 0.7], True, 0.0),
        (ABC, [0.7, 0.2, 0.1], CBA, [0.7, 0.2, 0.1], False, 0.6),
        (HEARD, AB, HEARD, AB[:3], True, 0.0),
        (HEARD, AB, TURNED, AB[:, ::-1], True, 0.0),
        (HEARD, AB, HEARD, AA, False, 0.5),
        (ABC, [0.7, 0.2, 0.1], LabelsOutput(name="out", labels=("a", "z")), [0.9, 0.1], True, 0.2),
        (XY, [3.0, 4.0], YX, [4.0, 3.0], True, 0.0),
        (XY, [3.0, 4.0], XY, [4.0, 3.0], False, 0.283),
        (XY, [3.0, 4.0], XY, [3.1, 4.1], True, 0.027),
        (XY, [0.0, 0.0], XY, [0.0, 0.0], True, 0.0),
        (VECTOR, [1.0, 0.0], VECTOR, [0.0, 1.0], False, 1.414),
        (VECTOR, [1.0, 0.0], VECTOR, [1.0, 0.0, 0.0], False, 1.0),
        (SERIES, [[[10.0]], [[11.0]]], SERIES, [[[10.0]], [[11.5]]], True, 0.033),
        (MASK, SKY, MASK, SKY, True, 0.0),
        (MASK, SKY, MASK, HALF, False, 0.5),
        (BOXES, [CAT, DOG, NONE], BOXES, [DOG, MOVED, FAINT], True, 0.0),
        (BOXES, [CAT, DOG, NONE], DOGS, [CAT, DOG, NONE], False, 1.0),
        (BOXES, [CAT, DOG, NONE], BOXES, [CAT, NONE, NONE], False, 0.333),
        (BOXES, [FAINT, NONE], BOXES, [NONE, NONE], True, 0.0),
        (ABC, [0.7, 0.2, 0.1], XY, [0.7, 0.2], False, 1.0),
    ],
)
def test_alike(first: Output, array: object, second: Output, other: object, alike: bool, apart: float) -> None:
    signatures = [FLOWER.model_copy(update={"outputs": (each,)}) for each in (first, second)]
    found = agreement(signatures[0], [np.array(array, np.float32)], signatures[1], [np.array(other, np.float32)])
    assert found == (alike, pytest.approx(apart, abs=1e-3))


def test_an_output_that_is_not_there() -> None:
    renamed = Signature.model_copy(FLOWER, update={"outputs": (ABC.model_copy(update={"name": "other"}),)})
    score = [np.array([0.1, 0.2, 0.7], np.float32)]
    assert agreement(FLOWER, score, renamed, score) == (False, 1.0)
