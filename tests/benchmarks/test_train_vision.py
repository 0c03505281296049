"""How `benchmarks.train_vision` judges its runs, and what both loops are given."""

import json
import math

import pytest

from benchmarks.train_vision import TARGET, judged

PLAIN = {"seconds": 60.0, "accuracy": 0.9904, "steps": 2000, "parameters": 9e4}


def runs(*seconds: float, parameters: float = 9e4) -> list[dict[str, float]]:
    return [{"seconds": each, "accuracy": TARGET if math.isfinite(each) else 0.98, "parameters": parameters,
             "steps": each * 10} for each in seconds]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "value", "ok"),
    [
        ((16, 19, 17), 17, True),
        ((16, math.inf, 19), 19, True),
        ((37, 16, 38), 37, False),
        ((6, math.inf, math.inf), None, False),
    ],
)
def test_the_median_counts_and_a_run_that_misses_takes_for_ever(seconds, value, ok):
    found = judged(runs(*seconds), PLAIN)
    assert (found["value"], found["ok"]) == (value, ok)
    assert found["ratio"] == (None if value is None else round(value / 60, 4))
    assert found["steps"] == (None if value is None else value * 10)
    json.dumps(found, allow_nan=False)


def test_another_network_does_not_count():
    assert judged(runs(6, 6, 6, parameters=1e4), PLAIN)["ok"] is False
