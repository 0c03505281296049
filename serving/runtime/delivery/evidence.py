"""What is known of a candidate, and the rule by which it is promoted or rolled back.

Tests, all sequential (`sequential.py`); one that says bad is enough to roll back, all that have a word must say good
for a promotion, after at least `requests` comparisons:

- finite: an answer with NaN or infinity where the live release has a finite one: rolled back at once;
- errors: share of requests that it fails at and the live one does not, 0.5 % or 5 % (SPRT);
- statuses (canary): 5xx answers, as one in three times as many as its requests would have (SPRT on each such answer);
- agreement: share of answers that are not alike, `differ` or a quarter of the way from there to all (SPRT);
- latency: seconds for the same request, against `slower` times the live release's (mSPRT on the logarithm);
- likelihood: nats a token that it finds prompts less likely, against 0.1 (mSPRT), of models that write text;
- feedback: share of answers that users say are wrong, against 5 points more than the live release's (mSPRT).

It knows no engine, and no HTTP.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from base.delivery import Decision, Plan
from serving.engines.exchange import NOT_FINITE, Comparison
from serving.runtime.delivery.sequential import Mean, Sprt, difference

FAILING = (0.005, 0.05)
TIMES = 3.0
LIKELIHOOD = 0.1
"""Nats a token."""
WRONG = 0.05
JUMP = 1.5
"""Largest logarithm of a ratio of times that counts as such: a pause of the machine is none of the model's."""


@dataclass(frozen=True)
class Verdict:
    """The rule's decision."""

    decision: Decision
    why: str


class Evidence:
    """The tests of one candidate in one process. Safe to use from several threads."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        """equal, different, answered (both, and being alike is no evidence), failed (the candidate alone), skipped
        (nothing is said), dropped (no time to compare)."""
        self.differences = Mean(0.1)
        self._not_finite = 0
        self._errors, self._statuses = Sprt(*FAILING), Sprt(*FAILING)
        differ = min(max(plan.differ, 1e-3), 0.999)
        self._agreement = Sprt(differ, differ + (1 - differ) / 4) if plan.differ < 1 else None
        self._latency, self._likelihood = Mean(0.2), Mean(LIKELIHOOD)
        self._arms = {"live": 0, "candidate": 0}
        self._truth = {"live": Mean(0.1), "candidate": Mean(0.1)}

    @property
    def compared(self) -> int:
        """Requests of which something is known."""
        return sum(self.outcomes[name] for name in ("equal", "different", "answered", "failed"))

    def compare(self, found: Comparison) -> str:
        """Count a comparison, seen from the live release. Returns its outcome."""
        with self._lock:
            outcome = self._compare(found)
            self.outcomes[outcome] += 1
            return outcome

    def _compare(self, found: Comparison) -> str:
        if found.problem == "busy":
            return "skipped"
        self._errors.add(found.problem is not None)
        if found.problem is not None:
            self._not_finite += found.problem == NOT_FINITE
            return "failed"
        if found.ratio is not None:
            self._latency.add(max(-JUMP, min(JUMP, log(found.ratio))))
        if found.worse is not None:
            self._likelihood.add(found.worse)
        if found.difference is not None:
            self.differences.add(found.difference)
        if found.equal is None:
            return "answered"
        if self._agreement:
            self._agreement.add(not found.equal)
        return "equal" if found.equal else "different"

    def drop(self) -> None:
        """A request could not be compared: too many wait."""
        with self._lock:
            self.outcomes["dropped"] += 1

    def answer(self, arm: str, status: int) -> None:
        """`live` or `candidate` has answered a request with this HTTP status."""
        with self._lock:
            live, own = self._arms["live"], self._arms["candidate"]
            self._arms[arm] += 1
            if status < 500:
                return
            share = (own + 1) / (live + own + 2)
            more = TIMES * share / (1 + (TIMES - 1) * share)
            self._statuses.count += 1
            if arm == "candidate":
                self._statuses.events += 1
                self._statuses.step(log(more / share))
            else:
                self._statuses.step(log((1 - more) / (1 - share)))

    def judge(self, arm: str, *, wrong: bool) -> None:
        """Somebody has said whether an answer of `live` or `candidate` was wrong."""
        with self._lock:
            self._truth[arm].add(float(wrong))

    def tests(self) -> list[dict[str, Any]]:
        """Each test: `test`, `count`, `found` in words, `says` (good, bad, open), `leaning` from -1 to 1 where it has
        one."""
        with self._lock:
            return [row for row in self._tests() if row["count"]]

    def verdict(self) -> Verdict | None:
        """What the rule says; None: nothing yet."""
        with self._lock:
            rows = [row for row in self._tests() if row["count"]]
            if bad := [row for row in rows if row["says"] == "bad"]:
                return Verdict("rollback", _words(bad))
            known = {row["test"] for row in rows}
            judged = [row for row in rows if row["test"] not in ("finite", "statuses", "feedback")]
            enough = self.compared >= self._plan.requests and {"errors", "latency"} <= known
            if enough and all(row["says"] == "good" for row in judged):
                return Verdict("promote", f"{self.compared} requests compared; {_words(judged)}")
            return None

    def _tests(self) -> list[dict[str, Any]]:
        rows = [
            _row("finite", self.compared, f"{self._not_finite} answers not finite where live's are",
                 "bad" if self._not_finite else "good"),
            _share("errors", self._errors, "failed where live answers"),
            _share("statuses", self._statuses, "5xx answers are the candidate's"),
        ]  # fmt: skip
        if self._agreement:
            rows.append(_share("agreement", self._agreement, "differ from live's"))
        latency, bound = self._latency, log(self._plan.slower)
        rows.append(_mean("latency", latency, latency.interval(), bound,
                          f"{exp(latency.mean):.2f} times live's seconds, {self._plan.slower:g} allowed"))  # fmt: skip
        worse = self._likelihood
        rows.append(_mean("likelihood", worse, worse.interval(), LIKELIHOOD,
                          f"{worse.mean:+.3f} nats a token of prompts, {LIKELIHOOD:g} allowed"))  # fmt: skip
        live, own = self._truth["live"], self._truth["candidate"]
        rows.append(_mean("feedback", own, difference(live, own), WRONG,
                          f"{own.mean:.1%} wrong by feedback, live {live.mean:.1%}"))  # fmt: skip
        return rows


def _row(test: str, count: int, found: str, says: str, leaning: float | None = None) -> dict[str, Any]:
    return {"test": test, "count": count, "found": found, "says": says, "leaning": leaning}


def _share(test: str, sprt: Sprt, what: str) -> dict[str, Any]:
    says = "bad" if sprt.bad else "good" if sprt.good else "open"
    return _row(test, sprt.count, f"{sprt.events} of {sprt.count} {what}", says, sprt.leaning)


def _mean(test: str, values: Mean, interval: tuple[float, float], bound: float, found: str) -> dict[str, Any]:
    low, high = interval
    says = "bad" if low > bound else "good" if high < bound else "open"
    return _row(test, values.count, found, says)


def _words(rows: Sequence[dict[str, Any]]) -> str:
    return "; ".join(f"{row['test']}: {row['found']}" for row in rows)
