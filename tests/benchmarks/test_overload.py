"""The arithmetic of the overload benchmark, and what it takes for an answer."""

import pytest

from benchmarks.overload import Asked, summary, verdict

CALM = {"answer_p99": 1.0, "token_p99": 0.01}
OK, FULL = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\n\r\n"


def asked(head: bytes = OK, sent: float = 0.0, ended: float | None = 1.0) -> Asked:
    return Asked(sent, head, [sent + 0.5, sent + 0.75, sent + 1.0], ended)


def test_what_is_an_answer() -> None:
    assert [asked(head).status for head in (OK, FULL, b"", b"HTTP/1.1")] == [200, 429, 0, 0]
    assert asked().complete
    assert not asked(ended=None).complete
    assert asked(FULL, ended=None).complete
    assert not asked(b"HTTP/1.1 429 Too Many Requests\r\n\r\n", ended=None).complete


def test_only_those_that_were_let_in_count_and_not_the_first_ones() -> None:
    late = [asked(sent=10.0, ended=10.0 + seconds) for seconds in (2.0, 4.0)]
    times = summary([asked(ended=99.0), *late, asked(FULL, 10.0, None), asked(sent=10.0, ended=None)], after=5.0)
    assert times["answer_p50"] == pytest.approx(3.0)
    assert times["first_p50"] == pytest.approx(0.5)
    assert times["token_p99"] == pytest.approx(0.25)


@pytest.mark.parametrize(("busy", "more", "ok"), [
    ({"answer_p99": 1.9, "token_p99": 0.019}, [], True),
    ({"answer_p99": 2.1, "token_p99": 0.010}, [], False),
    ({"answer_p99": 1.5, "token_p99": 0.021}, [], False),
    ({"answer_p99": 1.5, "token_p99": 0.010}, [asked(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")], False),
    ({"answer_p99": 1.5, "token_p99": 0.010}, [asked(b"", ended=None)], False),
    ({"answer_p99": 1.5, "token_p99": 0.010}, [asked(ended=None)], False),
    ({"answer_p99": 1.5, "token_p99": 0.010}, [asked(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")], False),
])  # fmt: skip
def test_the_verdict(busy: dict[str, float], more: list[Asked], ok: bool) -> None:
    line = verdict(CALM, busy, [asked(), asked(FULL, ended=None), *more])
    assert line["ok"] is ok
    assert line["ratio"] == pytest.approx(busy["answer_p99"])


def test_nobody_turned_away_is_no_overload() -> None:
    assert not verdict(CALM, CALM, [asked()])["ok"]
