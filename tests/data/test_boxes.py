"""Boxes as rows, pixels and answers."""

import numpy as np
import pytest

from data import boxes
from data.signature import BoxesOutput, ImageInput, Signature

OUTPUT = BoxesOutput(name="boxes", shape=(3, 6), labels=("cat", "dog"), iou=0.6, least=0.05, threshold=0.5)
ROWS = np.array([[0.1, 0.2, 0.5, 0.4, 0.9, 1], [0, 0, 1, 1, 0.3, 0], [0, 0, 0, 0, 0, 0]], np.float32)


def test_an_answer_is_in_pixels_from_the_threshold_on() -> None:
    image = ImageInput(name="image", shape=(8, 8, 3), height=8, width=8)
    signature = Signature(task="object-detection", inputs=(image,), outputs=(OUTPUT,))
    (rows,) = boxes.finished(signature, [np.zeros((100, 200, 3), np.uint8)], [ROWS])
    answer = boxes.worded(OUTPUT, rows)
    assert [(each["label"], each["score"]) for each in answer] == [("dog", pytest.approx(0.9))]
    assert answer[0]["box"] == pytest.approx({"xmin": 20, "ymin": 20, "xmax": 100, "ymax": 40})
    assert [each["label"] for each in boxes.worded(OUTPUT, rows, threshold=0.1)] == ["dog", "cat"]
    assert len(boxes.worded(OUTPUT, rows, 1, 0.1)) == 1
    assert len(boxes.worded(OUTPUT, rows, threshold=0.0)) == 2  # an empty row is never a box
    np.testing.assert_allclose(boxes.rows_of(OUTPUT, boxes.worded(OUTPUT, rows, threshold=0.1)), rows[:2], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (ROWS[[1, 0]], 0.0),  # the order is of no account
        (ROWS[:1], 0.25),  # 0.3 is 0.25 above 0.05
        (ROWS[1:2], 0.85),
        (np.add(ROWS[:2], [[0, 0, 0, 0, 0.01, 0]] * 2), 0.01),
        (np.add(ROWS[:2], [[-0.04, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]), 0.1),  # of a width of 0.4
        (np.concatenate([ROWS[:2], np.add(ROWS[:1], [0, 0.5, 0, 0.5, -0.8, 0])]), 0.05),
        (np.zeros((0, 6)), 0.85),
    ],
)
def test_how_far_two_lists_are_apart(given: np.ndarray, wanted: float) -> None:
    assert boxes.apart(ROWS[:2], given, 0.05) == pytest.approx(wanted, abs=1e-6)
    assert boxes.apart(given, ROWS[:2], 0.05) == pytest.approx(wanted, abs=0.03)


def test_overlap() -> None:
    one = np.array([[0, 0, 2, 2], [0, 0, 0, 0]])
    np.testing.assert_allclose(boxes.overlaps(one, np.array([[1, 1, 3, 3], [0, 0, 2, 2]])), [[1 / 7, 1], [0, 0]])
