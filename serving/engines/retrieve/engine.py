"""The engine: a query in, passages of documents out.

The query is embedded by the forward engine, with all its batching; a thread searches the table.

    found = await engine.search("the state of the union", 5, "hybrid", "req-1")

It knows neither HTTP nor BentoML.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.index.passages import Passage, Passages
from data.index.store import Hit, Mode, Store
from serving.engines.forward.engine import ForwardEngine
from serving.engines.retrieve.metrics import RetrieveEngineMetrics
from serving.http.errors import ApiError, deadline_passed, queue_full, unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Found:
    """A passage that was found."""

    passage: Passage
    score: float
    """As of `data.index.store.Hit`."""
    cosine: float | None


class RetrieveEngine:
    """Searches one index. All public methods are for the event loop's thread."""

    def __init__(
        self, embedder: ForwardEngine, prefix: str, store: Store, passages: Passages, metrics: RetrieveEngineMetrics,
        *, queue: int = 256, deadline: float = 120.0, threads: int = 1,
    ) -> None:  # fmt: skip
        """`prefix`: goes before a query; `queue`: searches that may be inside; `threads`: that search the table."""
        self._embedder, self._prefix, self._store, self.passages = embedder, prefix, store, passages
        self._metrics, self._most, self._deadline = metrics, queue, deadline
        self._pool = ThreadPoolExecutor(threads, "metroline-search")
        self.exchanged: Callable[[Any], None] | None = None
        self._inside = 0
        self._ended = False

    @property
    def alive(self) -> bool:
        """The embedder runs."""
        return self._embedder.alive

    @property
    def ready(self) -> bool:
        """It answers."""
        return self._embedder.ready and not self._ended

    def refusal(self) -> ApiError | None:
        """The 429 that one more search would get now; None: it would be let in."""
        if self._inside < self._most:
            return None
        return queue_full(self._inside, 1, "searches")

    def abort(self) -> None:
        """End all searches at once, and take no new ones."""
        self._ended = True
        self._embedder.abort()

    def irrelevant(self) -> None:
        """Count a question that the documents say nothing of."""
        self._metrics.irrelevant()

    async def search(
        self, query: str, k: int, mode: Mode, request_id: str,
        *, spend: Callable[[int], None] | None = None, param: str = "query",
    ) -> list[Found]:  # fmt: skip
        """The best `k` passages, best first. `spend`: is told how many tokens are embedded, and may raise. `param`: the
        request's field with the query.

        Raises ApiError: 400 the embedder cannot read the query, 429 there is no room, 503 after `abort`, 504 too late.
        """
        if self._ended:
            raise unavailable("draining")
        if refusal := self.refusal():
            raise refusal
        self._count(1)
        try:
            async with asyncio.timeout(self._deadline):
                vector = None if mode == "text" else await self._embedded(query, request_id, spend, param)
                started = time.monotonic()
                loop = asyncio.get_running_loop()
                hits = await loop.run_in_executor(self._pool, self._store.search, vector, query, k, mode)
        except TimeoutError:
            raise deadline_passed(self._deadline) from None
        except asyncio.CancelledError:
            self._metrics.cancelled()
            raise
        finally:
            self._count(-1)
        self._metrics.searched(mode, time.monotonic() - started, hits[0].score if hits else None)
        return self._found(hits)

    async def _embedded(
        self, query: str, request_id: str, spend: Callable[[int], None] | None, param: str
    ) -> "NDArray[np.float32]":
        items = [(self._prefix + query,)]
        admit = (lambda ready: spend(sum(each.length for each in ready))) if spend else None
        ((vector, *_),) = await self._embedder.answer(items, request_id, admit=admit, param=param)
        return vector  # type: ignore[return-value]  # float32, as the signature says

    def _found(self, hits: Sequence[Hit]) -> list[Found]:
        return [Found(self.passages.passage(hit.number), hit.score, hit.cosine) for hit in hits]

    def _count(self, searches: int) -> None:
        self._inside += searches
        self._metrics.active(self._inside)
