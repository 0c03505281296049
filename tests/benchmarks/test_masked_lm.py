"""What the benchmark of masked-language pretraining says of two runs."""

import pytest

from benchmarks.masked_lm import verdict

PEER = {"loss": 5.0, "seconds": 100.0, "cpu_s": 120.0, "parameters": 1000}


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"loss": 5.0}, True),
        ({"loss": 5.001}, False),
        ({"seconds": 101.0}, False),
        ({"parameters": 1011}, False),
        ({"parameters": 1010}, True),
    ],
)
def test_as_good_as_soon_and_no_larger(changes: dict[str, float], ok: bool) -> None:
    own = {"loss": 4.5, "seconds": 50.0, "cpu_s": 60.0, "parameters": 1000} | changes
    line = verdict(own, PEER, 200, 6.3)
    assert line["ok"] is ok
    assert (line["name"], line["baseline"], line["unigram"]) == ("masked_lm", 5.0, 6.3)
    assert line["ratio"] == pytest.approx(own["seconds"] / 100)
    assert "200 steps" in line["unit"]
