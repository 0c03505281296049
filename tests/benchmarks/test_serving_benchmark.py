"""The arithmetic of the serving benchmark."""

from benchmarks._serving_client import Answer, together
from benchmarks.serving import rows

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
