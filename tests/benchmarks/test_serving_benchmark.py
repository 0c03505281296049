"""The arithmetic of the serving benchmark."""

import pytest

from benchmarks._serving_client import Answer, together
from benchmarks.serving import rows, summary

FOUND = {
    "int8": {"one": 200.0, "many": 1100.0, "prefill": 2000.0, "overhead": 0.05, "tail": 1.5, "rss": 400.0,
             "cache": 50.0, "float16": 100.0, "ready": 3.0},
    "int4": {"one": 300.0, "many": 500.0, "prefill": 800.0, "overhead": 0.2, "tail": 1.2, "rss": 390.0,
             "cache": 50.0, "float16": 100.0, "ready": 3.0},
}  # fmt: skip


def test_only_the_time_in_which_all_streams_ran_counts() -> None:
    early = Answer(0.0, [float(t) for t in range(11)])
    late = Answer(0.0, [4.0 + t for t in range(11)])
    rate, gaps = together([early, late])
    assert rate == 2.0
    assert gaps == [1.0] * 12


def test_each_row_takes_the_best_precision_and_says_which() -> None:
    table = rows(FOUND, {"one": 250.0, "many": 500.0, "prefill": 1000.0})
    assert [(row["of"], row["ratio"], row["ok"]) for row in table[:3]] == [
        ("int4", 1.2, True), ("int8", 2.2, True), ("int8", 2.0, False),
    ]  # fmt: skip
    assert all(row["ok"] for row in table[3:])


def test_without_the_peer_its_rows_are_not_judged() -> None:
    table = rows(FOUND, None)
    assert [row["ok"] for row in table[:3]] == [None, None, None]
    assert all(row["ok"] for row in table[3:])


def test_of_speeds_the_best_round_counts_and_of_all_else_the_median() -> None:
    first = FOUND["int8"]
    rounds = [first, {**first, "one": 220.0, "overhead": 0.30, "ready": 9.0}, {**first, "one": 90.0, "rss": 460.0}]
    assert summary(rounds) == {**first, "one": 220.0}
    assert summary([]) == {}


@pytest.mark.parametrize(("what", "value"), [("overhead", 0.11), ("tail", 2.1), ("rss", 501.0), ("ready", 5.1)])
def test_what_is_over_its_bound_is_not_met(what: str, value: float) -> None:
    table = rows({"int8": {**FOUND["int8"], what: value}}, None)
    assert [row["value"] for row in table if row["ok"] is False] == [value]
