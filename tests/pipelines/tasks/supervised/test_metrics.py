"""Values against numbers worked out by hand."""

import numpy as np
import pytest

from pipelines.tasks.supervised import metrics
from pipelines.tasks.supervised.threshold import best_temperature, best_threshold

SCORES = np.array([[0.9, 0.1], [0.6, 0.4], [0.35, 0.65], [0.2, 0.8]])
TARGETS = np.array([0, 1, 0, 1])


def test_two_labels_by_hand() -> None:
    found = metrics.classification(SCORES, TARGETS)
    assert found["accuracy"] == 0.5
    assert found["auc"] == 0.75  # of the four pairs only (0.4, 0.65) is in the wrong order
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.35, 0.8]).mean())
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_threshold_changes_decisions_and_no_ranking() -> None:
    low = metrics.classification(SCORES, TARGETS, threshold=0.3)
    assert (low["recall"], low["precision"], low["auc"]) == (1.0, pytest.approx(2 / 3), 0.75)


def test_calibration_error_by_hand() -> None:
    scores = np.array([[0.25, 0.75]] * 4)  # right in 2 of 4
    assert metrics.calibration_error(scores, np.array([1, 1, 0, 0])) == pytest.approx(0.25)


def test_one_label_in_the_test_split_gives_no_auc() -> None:
    assert np.isnan(metrics.classification(SCORES[:1], TARGETS[:1])["auc"])


def test_regression_by_hand() -> None:
    found = metrics.regression(np.array([1.0, 3.0]), np.array([2.0, 5.0]))
    assert found["rmse"] == pytest.approx(np.sqrt(2.5))
    assert found["mae"] == 1.5


def test_groups_have_intervals_and_small_ones_are_left_out() -> None:
    right = np.array([1.0] * 50 + [0.0] * 50 + [1.0] * 3)
    found = metrics.by_group(["a"] * 100 + ["b"] * 3, lambda rows: float(right[rows].mean()), 200)
    assert list(found) == ["a"]
    assert found["a"]["value"] == 0.5
    assert 0.35 < found["a"]["low"] < 0.5 < found["a"]["high"] < 0.65


def test_temperature_undoes_a_scale() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([generator.choice(3, p=row) for row in shares])
    assert best_temperature((3 * logits).astype(np.float32), targets) == pytest.approx(3, rel=0.05)


def test_threshold_is_where_f1_is_highest() -> None:
    scores, targets = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 1, 1])
    assert best_threshold(scores, targets) == pytest.approx(0.15)
    assert best_threshold(scores, np.zeros(4, np.int64)) is None
