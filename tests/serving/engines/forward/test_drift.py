"""The window of the last items against the reference: when there is a score, and what it forgets."""

import numpy as np
import pytest

from data.drift import psi, reference, shares
from serving.engines.forward.drift import ENOUGH, EVERY, WINDOW, ForwardDrift
from tests.data.test_drift import SIGNATURE, rows


def scores(drift, inputs, outputs):
    """Every score that these items bring, by how many items there were."""
    found = enumerate((drift.add(one, other) for one, other in zip(inputs, outputs, strict=True)), start=1)
    return {count: score for count, score in found if score}


def test_scores_come_now_and_then_and_are_those_of_the_last_items():
    kept = reference(SIGNATURE, *rows(0))
    inputs, outputs = rows(1, count=WINDOW + 2 * EVERY, shift=15)
    found = scores(ForwardDrift(SIGNATURE, kept), inputs, outputs)
    assert sorted(found) == list(range(ENOUGH, WINDOW + 2 * EVERY + 1, EVERY))
    for count in (ENOUGH, WINDOW, WINDOW + 2 * EVERY):
        ages = [float(row[0][0]) for row in inputs[max(0, count - WINDOW) : count]]
        bins = kept["inputs"]["age"]
        assert found[count]["inputs"]["age"] == pytest.approx(psi(bins["shares"], shares(bins, ages)))
    assert set(found[WINDOW]["outputs"]) == {"label", "price"}


def test_what_has_moved_back_is_forgotten():
    drift = ForwardDrift(SIGNATURE, reference(SIGNATURE, *rows(0)))
    moved = scores(drift, *rows(1, count=WINDOW, shift=30))[WINDOW]["inputs"]["age"]
    back = scores(drift, *rows(2, count=WINDOW))[WINDOW]["inputs"]["age"]
    assert moved > 1 > 0.1 > back


def test_no_reference_no_score():
    item = (np.zeros(2, np.float32),)
    assert ForwardDrift(SIGNATURE, None).add(item, (np.zeros(2), np.zeros(1))) is None
