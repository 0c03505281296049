"""The thread that has requests answered once more, by the other release. What waits is bounded; the rest is dropped."""

import logging
import queue
import threading
import time
from collections.abc import Callable

from serving.engines.exchange import Comparison, Exchange

WAITING = 64
"""Requests that may wait to be compared."""
TIMING = 0.1
"""Share of this thread's time in which requests are timed: each of these is answered several times by both releases."""

log = logging.getLogger("metroline.delivery")


class Replays:
    """Compares what it is offered. `offer` costs the live path a microsecond."""

    def __init__(
        self, compare: Callable[[Exchange, bool], Comparison], done: Callable[[Exchange, Comparison], None]
    ) -> None:
        """`compare`: has the other release answer, perhaps timed; `done`: is told what came of it. In the thread."""
        self._compare, self._done = compare, done
        self._waiting: queue.SimpleQueue[Exchange] = queue.SimpleQueue()
        self._next_timing = 0.0
        self._thread = threading.Thread(target=self._work, name="metroline-delivery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, exchange: Exchange) -> bool:
        """Take a request to be compared. False: too many wait already."""
        if self._waiting.qsize() >= WAITING:
            return False
        self._waiting.put(exchange)
        return True

    def run(self, exchange: Exchange) -> None:
        """Compare one now, in the caller's thread."""
        started = time.monotonic()
        timed = started >= self._next_timing
        try:
            found = self._compare(exchange, timed)
        except Exception:  # what the engines raise of themselves is in the comparison
            log.exception("a request could not be compared")
            found = Comparison("busy")
        if timed:
            now = time.monotonic()
            self._next_timing = now + (now - started) / TIMING
        self._done(exchange, found)

    def _work(self) -> None:
        while True:
            self.run(self._waiting.get())
