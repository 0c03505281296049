"""The parts of detection against what they should be: scores, loss, augmentation, the floor."""

import numpy as np
import pytest
import torch

from data.boxes import overlaps
from pipelines.tasks.detection import loss
from pipelines.tasks.detection.boxed import NONE, augmented, together
from pipelines.tasks.detection.scores import at_threshold, average_precision, best_threshold, hits
from tests.pipelines.tasks.detection import small_boxes

TRUTH = [np.array([[0.1, 0.1, 0.3, 0.3, 0], [0.5, 0.5, 0.9, 0.9, 1]]), np.array([[0.2, 0.2, 0.6, 0.6, 0]])]


def rows(*found: tuple[float, ...]) -> np.ndarray:
    return np.array(found, np.float64).reshape(-1, 6)


def test_mean_average_precision_of_a_case_that_can_be_counted() -> None:
    """Label 0: found, wrong, found: precision 1 up to half the recall, 2/3 behind; label 1: a hit at 0.5 alone."""
    pytest.importorskip("pycocotools")
    given = [
        rows((0.1, 0.1, 0.3, 0.3, 0.9, 0), (0.5, 0.5, 0.9, 0.8, 0.6, 1)),
        rows((0.7, 0.7, 0.8, 0.8, 0.8, 0), (0.2, 0.2, 0.6, 0.6, 0.7, 0), (0, 0, 0, 0, 0, 0)),
    ]
    values, each = average_precision(given, TRUTH, [(480, 640), (100, 50)], 3)
    recalls = np.linspace(0, 1, 101)  # COCO's
    assert each[0] == pytest.approx(np.where(recalls <= 0.5, 1, 2 / 3).mean(), abs=1e-9)
    assert each[1] == pytest.approx(1)
    assert np.isnan(each[2])
    assert values["map50"] == pytest.approx((each[0] + each[1]) / 2)
    assert values["map"] < values["map50"]
    assert average_precision([rows()] * 2, TRUTH, [(9, 9)] * 2, 3)[0] == {"map50": 0.0, "map": 0.0}


def test_hits_take_each_box_once_and_only_their_own_label() -> None:
    given = [
        rows((0.1, 0.1, 0.3, 0.3, 0.5, 0), (0.1, 0.1, 0.3, 0.31, 0.9, 0), (0.5, 0.5, 0.9, 0.9, 0.8, 0)),
        rows((0.2, 0.2, 0.6, 0.6, 0.7, 0)),
    ]
    scores, right, there = hits(given, TRUTH)
    assert dict(zip(scores.tolist(), right.tolist(), strict=True)) == {0.9: True, 0.8: False, 0.5: False, 0.7: True}
    assert there == 3
    assert at_threshold(given, TRUTH, 0.6) == {"precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3)}
    assert best_threshold(given, TRUTH, 0.5) == pytest.approx(0.6)  # F1 is best with 0.9, 0.8 and 0.7
    assert best_threshold([rows(), rows()], TRUTH, 0.5) == 0.5


def test_cells_near_the_middle_find_the_smallest_box() -> None:
    """Of an 8 x 8 grid: a large box around a small one; a box that is none; cells far from any middle find nothing."""
    at = (torch.arange(8) + 0.5) / 8
    middles = torch.stack([at.repeat(8), at.repeat_interleave(8)], 1)
    targets = torch.tensor([[[0.0, 0.0, 1.0, 1.0, 0], [0.4, 0.4, 0.6, 0.6, 1], [0.0, 0.0, 0.1, 0.1, NONE]]])
    which, found = loss.assigned(targets, middles, torch.tensor([1 / 8, 1 / 8]))
    which, found = which.view(8, 8), found.view(8, 8)
    assert found.sum() == 4  # the radius is 1.5 cells, and both middles lie on a corner of four cells
    assert found[3:5, 3:5].all()
    assert (which[3:5, 3:5] == 1).all()
    alone, there = loss.assigned(targets[:, :1], middles, torch.tensor([1 / 8, 1 / 8]))
    assert there.sum() == 4
    assert (alone == 0).all()


def test_generalised_overlap_falls_with_distance() -> None:
    box = torch.tensor([0.0, 0.0, 1.0, 1.0])
    others = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5], [2.0, 0.0, 3.0, 1.0], [4.0, 0.0, 5.0, 1.0]])
    overlap, fit = loss.overlaps(box.expand(4, -1), others)
    torch.testing.assert_close(overlap, torch.tensor([1.0, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(fit, torch.tensor([1.0, 0.5, -1 / 3, -3 / 5]))
    np.testing.assert_allclose(overlaps(box[None].numpy(), others.numpy())[0], overlap.numpy(), atol=1e-6)


def test_images_and_boxes_are_changed_alike() -> None:
    """A bright box stays where its numbers say, whatever the batch; a box whose middle is cut off is gone."""
    data = small_boxes.recipe().data.model_copy(update={"zoom": 0.5, "jitter": 0.0})
    images = np.zeros((12, 64, 64, 3), np.uint8)
    boxes = []
    for number, image in enumerate(images):
        x, y = 10 + 2 * number, 30 - number
        image[y : y + 16, x : x + 24] = 200
        boxes.append(np.array([[x / 64, y / 64, (x + 24) / 64, (y + 16) / 64, 1]]))
    epochs, examples = np.zeros(12, np.int64), np.arange(12)
    changed, moved = augmented(images, boxes, data, 1, epochs, examples)
    assert changed.shape == images.shape
    kept = 0
    for image, some in zip(changed, moved, strict=True):
        for x1, y1, x2, y2, label in some:
            kept += 1
            assert label == 1
            bright = np.argwhere(image[..., 0] > 100)
            low, high = bright.min(0), bright.max(0) + 1
            np.testing.assert_allclose([low[1], low[0], high[1], high[0]], np.array([x1, y1, x2, y2]) * 64, atol=1.1)
    assert kept >= 6
    alone, own = augmented(images[3:4], boxes[3:4], data, 1, epochs[:1], examples[3:4])
    np.testing.assert_array_equal(alone[0], changed[3])
    np.testing.assert_array_equal(own[0], moved[3])
    again, _ = augmented(images, boxes, data, 1, epochs + 1, examples)
    assert (again != changed).any()


def test_a_batch_is_filled_up_with_boxes_that_are_none() -> None:
    filled = together([TRUTH[0], TRUTH[1], np.zeros((0, 5))])
    assert filled.shape == (3, 2, 5)
    assert filled[:, :, 4].tolist() == [[0, 1], [0, NONE], [NONE, NONE]]
    assert together([np.zeros((0, 5))]).shape == (1, 1, 5)
