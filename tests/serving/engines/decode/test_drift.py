"""Drift: the loss of prompts, and how far their mean is from the reference."""

import numpy as np
import pytest

from serving.engines.decode import drift as drift_module
from serving.engines.decode.drift import ENOUGH, WINDOW, Drift, prompt_loss

REFERENCE = {"loss_mean": 4.0, "loss_std": 0.5, "tokens": 64}


def test_loss_is_the_sum_of_negative_log_likelihoods():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], np.float32))
    assert prompt_loss(logits, (1, 1)) == pytest.approx(-np.log(0.25) - np.log(0.8), abs=1e-6)


def test_score_is_a_distance_in_deviations():
    drift = Drift(REFERENCE)
    for loss in [4.9, 5.1] * ENOUGH:
        drift.add(loss)
    assert drift.score == pytest.approx(2.0)


def test_a_few_prompts_say_nothing():
    drift = Drift(REFERENCE)
    for _ in range(ENOUGH - 1):
        drift.add(9.0)
    assert drift.score == 0
    drift.add(9.0)
    assert drift.score == pytest.approx(10.0)


def test_old_prompts_are_forgotten():
    drift = Drift(REFERENCE)
    for loss in [9.0] * WINDOW + [4.0] * WINDOW:
        drift.add(loss)
    assert drift.score == pytest.approx(0.0)


@pytest.mark.parametrize("reference", [None, {"loss_mean": 4.0, "loss_std": 0.0}])
def test_no_reference_no_score(reference):
    drift = Drift(reference)
    for _ in range(WINDOW):
        drift.add(9.0)
    assert drift.score == 0


def test_a_large_vocabulary_is_scored_less_often(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(drift_module.time, "monotonic", lambda: now[0])
    small, large = Drift(REFERENCE, 4096), Drift(REFERENCE, 49152)
    assert small.due()
    assert large.due()
    now[0] += 0.3
    assert small.due()
    assert not large.due()
    now[0] += 1
    assert large.due()
