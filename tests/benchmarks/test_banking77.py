"""How `benchmarks.banking77` judges: time and accuracy, for as many steps."""

import pytest

from benchmarks.banking77 import judged

PEER = {"seconds": 100.0, "accuracy": 0.92, "steps": 1484}


@pytest.mark.parametrize(
    ("seconds", "accuracy", "steps", "ok"),
    [(70.0, 0.93, 1484, True), (70.0, 0.915, 1484, True), (71.0, 0.93, 1484, False), (70.0, 0.914, 1484, False),
     (50.0, 0.93, 1400, False)],
)  # fmt: skip
def test_it_must_be_sooner_and_not_worse(seconds: float, accuracy: float, steps: int, ok: bool) -> None:
    found = judged({"seconds": seconds, "accuracy": accuracy, "steps": steps}, PEER)
    assert (found["ok"], found["ratio"], found["baseline"]) == (ok, seconds / 100, 100.0)
