"""A candidate beside the live model in one worker: which requests it sees, and what becomes of it.

Shadow: of the requests that the live model answers a share, chosen by a hash of their id, is answered once more by the
candidate, and nobody gets to see it. Canary: a share goes to the candidate, by the same hash or (`sticky: key`) by the
caller's; its answers are compared with what the live model says. What the rule decides holds here at once: a candidate
that is rolled back gets no further request. Moving the release pointers is the line's (pipelines/line/delivery.py).

Each worker has evidence of its own. Where one rolls back all do, by a file in the folder that they share; the candidate
is promoted when all have said so.
"""

import logging
import os
import threading
import time
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.delivery import Plan
from base.errors import MetrolineError
from base.files import read_object, write_json
from serving.engines.exchange import Comparison, Exchange
from serving.runtime.delivery.evidence import Evidence, Verdict
from serving.runtime.delivery.metrics import DeliveryMetrics
from serving.runtime.delivery.replays import Replays

if TYPE_CHECKING:
    from serving.runtime.loaded_model import LoadedModel

LOOK = 0.25
"""Seconds between two looks at what other workers have decided."""
NOTE = 50
"""Comparisons between two looks at evidence that has nothing against the candidate."""

log = logging.getLogger("metroline.delivery")


class Delivery:
    """One candidate. For the event loop's thread, except where it says otherwise."""

    def __init__(
        self, live: "LoadedModel", candidate: "LoadedModel", plan: Plan, *, folder: Path | None = None, workers: int = 1
    ) -> None:
        """`folder`: shared by the server's workers; None: there is but this one."""
        self.live, self.candidate, self.plan = live, candidate, plan
        self._board = Board(folder, plan.id, workers)
        self._evidence, self._metrics = Evidence(plan), DeliveryMetrics(candidate.metrics)
        self._replays = Replays(self._compare, self._done)
        self._deciding = threading.Lock()
        self.verdict: Verdict | None = None
        self._looked = 0.0

    def start(self) -> None:
        """Compare the live bundle's golden items, then what comes. Not on the event loop: it runs both models."""
        self._metrics.share(self.plan.mode, self.plan.share)  # before what may take it back
        for exchange in self.live.golden():
            self._replays.run(exchange)
        live, candidate = self.live.engine, self.candidate.engine
        live.exchanged, candidate.exchanged = self._from_live, self._from_candidate
        self._replays.start()
        fields = {"model": self.live.name, "live": self.live.bundle.version, "candidate": self.candidate.bundle.version,
                  "mode": self.plan.mode, "share": self.plan.share, "golden": self._evidence.compared}  # fmt: skip
        log.info("candidate loaded", extra={"fields": fields})
        self._decide()

    def takes(self, request_id: str, caller: str = "") -> bool:
        """Whether the candidate answers this request. `caller`: whoever wants to stay with one version; empty: nobody.

        Where the candidate has no room the live model answers.
        """
        if self.plan.mode != "canary" or not self._chosen(caller or request_id) or self._over():
            return False
        return self.candidate.engine.ready and not self.candidate.engine.refusal()

    def answered(self, served: "LoadedModel", status: int) -> None:
        """A request was answered."""
        if self.plan.mode == "canary" and not self._rolled_back:
            self._evidence.answer(self._arm(served), status)
            if status >= 500:
                self._decide()

    def judged(self, version: str, *, wrong: bool) -> None:
        """Somebody has said whether an answer of this version was wrong."""
        known = {self.live.bundle.version: "live", self.candidate.bundle.version: "candidate"}
        if version in known:
            self._evidence.judge(known[version], wrong=wrong)
            self._decide()

    def state(self) -> dict[str, Any]:
        """What is known of it, in this worker, and what all have decided."""
        verdict = self._board.verdict() or self.verdict
        outcomes = {"compared": self._evidence.compared, **self._evidence.outcomes}
        return {
            "model": self.live.name, "live": self.live.bundle.version, "candidate": self.candidate.bundle.version,
            "mode": self.plan.mode, "share": self.plan.share, "plan": self.plan.id, "outcomes": outcomes,
            "tests": self._evidence.tests(), "difference": self._evidence.differences.mean,
            "decision": self._board.decision() if self._board.shared else verdict and verdict.decision,
            "why": verdict.why if verdict else None,
        }  # fmt: skip

    def _chosen(self, sticky: str) -> bool:
        drawn = int.from_bytes(blake2b(f"{self.plan.id} {sticky}".encode(), digest_size=8).digest(), "big")
        return drawn < self.plan.share * 2**64

    def _over(self) -> bool:
        """It was rolled back, here or by another worker."""
        now = time.monotonic()
        if not self._rolled_back and self._board.shared and now - self._looked > LOOK:  # promoted here is not by all
            self._looked = now
            if self._board.decision() == "rollback":
                with self._deciding:
                    self._settle(self._board.verdict() or Verdict("rollback", "another worker says so"))
        return self._rolled_back

    @property
    def _rolled_back(self) -> bool:
        """This worker knows that it is."""
        return self.verdict is not None and self.verdict.decision == "rollback"

    def _arm(self, served: "LoadedModel") -> str:
        return "candidate" if served is self.candidate else "live"

    def _from_live(self, exchange: Exchange) -> None:
        """In shadow: the live model has answered."""
        if self.plan.mode == "shadow" and exchange.problem is None and self._chosen(exchange.request_id):
            self._offer(exchange)

    def _from_candidate(self, exchange: Exchange) -> None:
        """In canary: the candidate has answered."""
        self._offer(_Turned(exchange))

    def _offer(self, exchange: Exchange) -> None:
        if self._over():
            return
        if not self._replays.offer(exchange):
            self._evidence.drop()
            self._metrics.compared("dropped", None)

    def _compare(self, exchange: Exchange, timed: bool) -> Comparison:
        return exchange.again(self.live.engine, self.candidate.engine, timed=timed)

    def _done(self, exchange: Exchange, found: Comparison) -> None:
        """In the thread of comparisons."""
        outcome = self._evidence.compare(found)
        self._metrics.compared(outcome, found.difference)
        if outcome in ("different", "failed") or self._evidence.compared % NOTE == 0:
            self._decide()

    def _decide(self) -> None:
        """From any thread."""
        with self._deciding:
            if self._rolled_back:
                return
            self._metrics.evidence(self._evidence.tests())
            verdict = self._evidence.verdict()
            if verdict and (self.verdict is None or verdict.decision != self.verdict.decision):
                self._settle(verdict)
                self._board.write(verdict)

    def _settle(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.candidate.metrics.decided(verdict.decision)
        if verdict.decision == "rollback":
            self._metrics.share(self.plan.mode, 0.0)
        fields = {"model": self.live.name, "live": self.live.bundle.version, "candidate": self.candidate.bundle.version,
                  "mode": self.plan.mode, "decision": verdict.decision, "why": verdict.why}  # fmt: skip
        log.warning("candidate decided", extra={"fields": fields})


class _Turned:
    """An exchange of the candidate, seen from the live model."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self.request_id, self.problem = exchange, exchange.request_id, exchange.problem

    def again(self, own: Any, other: Any, *, timed: bool) -> Comparison:
        """`own` is the live engine, which is asked now; the answer that is there is the other's."""
        found = self._exchange.again(other, own, timed=timed)
        if found.problem is not None:  # of the live model: nothing is said against the candidate
            return Comparison("busy")
        if self.problem is not None:
            return Comparison(self.problem)
        return Comparison(
            None, found.equal, found.difference, found.ratio and 1 / found.ratio,
            None if found.worse is None else -found.worse,
        )  # fmt: skip


class Board:
    """What each worker of a server has decided on a plan: a small file each, in the folder that they share."""

    def __init__(self, folder: Path | None, plan: str, workers: int) -> None:
        self.shared = folder is not None and folder.is_dir()
        self._folder, self._plan, self._workers = folder or Path("."), plan, workers

    def write(self, verdict: Verdict) -> None:
        """This worker's. Where it cannot be written requests are answered all the same, and it holds in this one."""
        try:
            if self.shared:
                write_json(self._folder / f"delivery-{self._plan}-{os.getpid()}.json", asdict(verdict))
        except (MetrolineError, OSError) as error:
            log.error("decision not written", extra={"fields": {"plan": self._plan, "problem": str(error)}})

    def _found(self) -> dict[int, Verdict]:
        """All workers', by process number."""
        found = {}
        for path in sorted(self._folder.glob(f"delivery-{self._plan}-*.json")) if self.shared else ():
            try:
                found[int(path.stem.rpartition("-")[2])] = Verdict(**read_object(path))
            except (MetrolineError, TypeError, ValueError):
                continue
        return found

    def decision(self) -> str | None:
        """rollback: one says so, and be it one that is gone; promote: all that there are do."""
        found = self._found()
        if any(each.decision == "rollback" for each in found.values()):
            return "rollback"
        import psutil

        return "promote" if sum(map(psutil.pid_exists, found)) >= self._workers else None

    def verdict(self) -> Verdict | None:
        """The one that decides."""
        decision = self.decision()
        return next((each for each in self._found().values() if each.decision == decision), None)
