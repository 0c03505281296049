"""A search, for another release to make: whether it finds the same best passage."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from data.index.store import Way
from serving.engines.exchange import AGAIN, Comparison, awaited


class Searching(Protocol):
    """What is asked of the engine of a release."""

    way: Way
    """How it searches unless it is told."""

    async def search(self, query: str, k: int, way: Way, request_id: str) -> Sequence[Any]:
        """The best passages, as `serving.engines.retrieve.engine.Found`."""


@dataclass(frozen=True)
class RetrieveExchange:
    """See Exchange."""

    request_id: str
    query: str
    k: int
    way: Way
    texts: Sequence[str]
    """Of the passages that were found."""
    loop: asyncio.AbstractEventLoop
    problem: str | None = None

    def again(self, own: Searching, other: Searching, *, timed: bool) -> Comparison:
        """See Exchange. Far apart: the share of the passages that the other does not find."""
        return awaited(self._compare(own, other, timed=timed), self.loop)

    async def _compare(self, own: Searching, other: Searching, *, timed: bool) -> Comparison:
        began = time.perf_counter()
        others = await self._search(other)
        seconds = time.perf_counter() - began
        if self.problem:
            return Comparison()
        apart = len(set(self.texts) - set(others)) / max(1, len(set(self.texts)))
        same = list(self.texts[:1]) == others[:1]
        if not timed:
            return Comparison(None, same, apart)
        began = time.perf_counter()
        await self._search(own)
        return Comparison(None, same, apart, seconds / (time.perf_counter() - began))

    async def _search(self, engine: Searching) -> list[str]:
        way = self.way if self.way != "reranked" else engine.way  # it may have no reranker
        found = await engine.search(self.query, self.k, way, self.request_id + AGAIN)
        return [each.passage.text for each in found]
