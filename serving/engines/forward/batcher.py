"""One thread that runs the graph on what waits: Triton's dynamic batcher with no delay.

Whenever the graph is free, the oldest item goes, and with it all that wait and have its shape, up to the largest batch:
of texts so many tokens, so that a batch of long ones is short. Nobody waits for a batch to fill up. A call that fails
is repeated item by item, so that one cannot take others with it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from serving.engines.forward.graph import Array, Prepared
from serving.http.errors import internal, unavailable

log = logging.getLogger("metroline.forward")


class BatchGraph(Protocol):
    """What the batcher runs."""

    @property
    def largest(self) -> int:
        """Items in one call, at most."""

    def room(self, item: Prepared) -> int:
        """Items like this one in one call, at most."""

    def run(self, items: Sequence[Prepared]) -> list[tuple[Array, ...]]:
        """Outputs of each item."""


def _future() -> "asyncio.Future[tuple[Array, ...]]":
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Job:
    """An item that waits for the graph, or runs. Made on the event loop."""

    item: Prepared
    request_id: str
    answer: asyncio.Future[tuple[Array, ...]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    dropped: bool = False
    """Nobody wants it any more."""


class Batcher:
    """Runs jobs in batches. `submit` is for the event loop's thread."""

    def __init__(self, graph: BatchGraph, ran: Callable[[list[Job], float], None]) -> None:
        """`ran`: told of each batch and the seconds that it took, in the batcher's thread."""
        self._graph, self._ran = graph, ran
        self._arrived: list[Job] = []  # in this turn of the event loop
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="metroline-forward", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return len(self._waiting) + len(self._arrived)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue items; each one's `answer` will have its outputs, or an ApiError.

        The thread hears at once of all that one turn of the event loop brings: waking it costs more than a small model.
        """
        if self._ended:
            raise unavailable("draining")
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._push)
        self._arrived.extend(jobs)

    def _push(self) -> None:
        with self._changed:
            self._waiting.extend(self._arrived)
            self._arrived.clear()
            self._changed.notify()

    def abort(self) -> None:
        """End what waits, with an error that says why, and take nothing new. From the event loop's thread."""
        with self._changed:
            self._ended = True
            jobs, self._waiting = [*self._waiting, *self._arrived], deque()
            self._arrived.clear()
        for job in jobs:
            _deliver([(job, unavailable("draining"))])

    def take(self) -> list[Job]:
        """The next batch, out of what waits: the oldest and all of its shape, in order. Those that were dropped go."""
        kept: deque[Job] = deque()
        batch: list[Job] = []
        room = 1
        for job in self._waiting:
            if job.dropped:
                continue
            if not batch:
                room = self._graph.room(job.item)
                batch.append(job)
            elif len(batch) < room and job.item.shape == batch[0].item.shape:
                batch.append(job)
            else:
                kept.append(job)
        self._waiting = kept
        return batch

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                batch = self.take()
            if batch:
                self._run(batch)

    def _run(self, batch: list[Job]) -> None:
        started = time.monotonic()
        for job in batch:
            job.started = started
        try:
            results = self._graph.run([job.item for job in batch])
        except Exception:
            if len(batch) > 1:
                for job in batch:
                    self._run([job])
                return
            log.exception("an item failed", extra={"fields": {"request_id": batch[0].request_id}})
            _hand_over([(batch[0], internal(batch[0].request_id))])
            return
        self._ran(batch, time.monotonic() - started)
        _hand_over(list(zip(batch, results, strict=True)))


Result = tuple[Job, "tuple[Array, ...] | Exception"]


def _hand_over(results: list[Result]) -> None:
    try:
        results[0][0].answer.get_loop().call_soon_threadsafe(_deliver, results)
    except RuntimeError:  # the event loop is closed: nobody listens any more
        return


def _deliver(results: list[Result]) -> None:
    for job, result in results:
        if job.answer.done():
            continue
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
