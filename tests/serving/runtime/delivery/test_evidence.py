"""The rule: what is promoted, what is rolled back, and what is said about it."""

from typing import Any

import pytest

from base.delivery import Plan
from serving.engines.exchange import Comparison
from serving.runtime.delivery.evidence import Evidence

FINE = Comparison(None, equal=True, difference=0.01, ratio=1.0)


def evidence(**values: Any) -> Evidence:
    return Evidence(Plan.of({"id": "a1", "mode": "canary", "share": 0.1, "requests": 150, **values}))


def feed(found: Evidence, comparison: Comparison, times: int) -> str | None:
    for _ in range(times):
        found.compare(comparison)
    verdict = found.verdict()
    return verdict and verdict.decision


def test_promotion_needs_so_many_requests_and_every_test() -> None:
    found = evidence()
    assert feed(found, FINE, 149) is None
    assert feed(found, FINE, 1) == "promote"
    verdict = found.verdict()
    assert verdict
    assert verdict.why.startswith("150 requests compared; errors: 0 of 150 failed where live answers; agreement: 0 of")
    untimed = evidence()
    assert feed(untimed, Comparison(None, equal=True), 500) is None  # nothing is known of its latency


@pytest.mark.parametrize(
    ("comparison", "most", "why"),
    [
        (Comparison("answer_not_finite"), 1, "finite: 1 answers not finite where live's are"),
        (Comparison("internal_error"), 5, "errors: 5 of 205 failed where live answers"),
        (Comparison(None, equal=False, ratio=1.0), 11, "differ from live's"),
        (Comparison(None, equal=True, ratio=1.5), 400, "latency: 1."),
        (Comparison(None, equal=None, ratio=1.0, worse=0.5), 40, "likelihood: +0.500 nats a token"),
    ],
)
def test_bad_news_after_good(comparison: Comparison, most: int, why: str) -> None:
    found = evidence(requests=10_000)
    assert feed(found, FINE, 200) is None
    for _ in range(most):
        found.compare(comparison)
    verdict = found.verdict()
    assert verdict, found.tests()
    assert verdict.decision == "rollback"
    assert why in verdict.why


def test_what_says_nothing() -> None:
    found = evidence()
    feed(found, Comparison("busy"), 100)
    found.drop()
    assert (found.compared, found.outcomes) == (0, {"skipped": 100, "dropped": 1})
    assert found.tests() == []
    tolerant = evidence(differ=1.0)
    assert feed(tolerant, Comparison(None, equal=False, ratio=1.0), 200) == "promote"


def test_statuses_are_judged_by_the_share_of_requests() -> None:
    overloaded = evidence()
    for number in range(2000):  # both fail alike
        overloaded.answer("candidate" if number % 10 == 0 else "live", 504 if number % 7 == 0 else 200)
    assert overloaded.verdict() is None
    broken = evidence()
    for number in range(400):
        broken.answer("candidate" if number % 10 == 0 else "live", 500 if number % 10 == 0 else 200)
    verdict = broken.verdict()
    assert verdict
    assert "statuses: 40 of 40 5xx answers are the candidate's" in verdict.why


def test_feedback_is_enough_to_roll_back_and_not_needed_to_promote() -> None:
    found = evidence(requests=10_000)
    feed(found, FINE, 200)
    for number in range(300):
        found.judge("live", wrong=number % 20 == 0)
        found.judge("candidate", wrong=number % 2 == 0)
    verdict = found.verdict()
    assert verdict
    assert verdict.why == "feedback: 50.0% wrong by feedback, live 5.0%"
