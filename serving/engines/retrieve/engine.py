"""The engine: a query in, passages of documents out.

The query is embedded by a forward engine, with all its batching; a thread searches the table; where the index has a
reranker, a second forward engine reads the query with each of the best chunks.

    found = await engine.search("the state of the union", 5, "reranked", "req-1")

It knows neither HTTP nor BentoML.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.index.passages import Passage, Passages
from data.index.reranked import Pairs, ordered
from data.index.store import Hit, Store, Way
from serving.engines.exchange import AGAIN, FAULTS
from serving.engines.forward.engine import ForwardEngine
from serving.engines.retrieve.exchange import RetrieveExchange
from serving.engines.retrieve.metrics import RetrieveEngineMetrics
from serving.http.errors import ApiError, deadline_passed, queue_full, unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


AT_ONCE = 4
"""Texts of one search that wait for the reranker or run: others get in between, and many searches have room."""


@dataclass(frozen=True)
class Found:
    """A passage that was found."""

    passage: Passage
    score: float
    """As of `data.index.store.Hit`, or the reranker's, 0 to 1."""
    cosine: float | None


@dataclass(frozen=True)
class Reranking:
    """The reranker of an index."""

    engine: ForwardEngine
    cut: Callable[[str, int], str]
    """The first tokens of a text, as text."""
    lengths: tuple[int, int]
    """Most tokens of a query and of a text."""
    candidates: int
    """Chunks of a search by both that it orders."""


class RetrieveEngine:
    """Searches one index. All public methods are for the event loop's thread."""

    def __init__(
        self, embedder: ForwardEngine, prefix: str, store: Store, passages: Passages, metrics: RetrieveEngineMetrics,
        reranking: Reranking | None = None, *, queue: int = 256, deadline: float = 120.0, threads: int = 1,
    ) -> None:  # fmt: skip
        """`prefix`: goes before a query; `queue`: searches that may be inside; `threads`: that search the table."""
        self._embedder, self._prefix, self._store, self.passages = embedder, prefix, store, passages
        self._metrics, self._most, self._deadline, self._reranking = metrics, queue, deadline, reranking
        self._pool = ThreadPoolExecutor(threads, "metroline-search")
        self.exchanged: Callable[[RetrieveExchange], None] | None = None
        self._inside = 0
        self._ended = False

    @property
    def alive(self) -> bool:
        """The embedder and the reranker run."""
        return self._embedder.alive and (self._reranking is None or self._reranking.engine.alive)

    @property
    def way(self) -> Way:
        """How it searches where nothing else is said."""
        return "reranked" if self._reranking else "hybrid"

    @property
    def ready(self) -> bool:
        """It answers."""
        return self._embedder.ready and self.alive and not self._ended

    def refusal(self) -> ApiError | None:
        """The 429 that one more search would get now; None: it would be let in."""
        if self._inside < self._most:
            return None
        return queue_full(self._inside, 1, "searches")

    def abort(self) -> None:
        """End all searches at once, and take no new ones."""
        self._ended = True
        self._embedder.abort()
        if self._reranking:
            self._reranking.engine.abort()

    def irrelevant(self) -> None:
        """Count a question that the documents say nothing of."""
        self._metrics.irrelevant()

    async def search(
        self, query: str, k: int, way: Way, request_id: str,
        *, spend: Callable[[int], None] | None = None, param: str = "query",
    ) -> list[Found]:  # fmt: skip
        """The best `k` passages, best first. `spend`: is told how many tokens are embedded, and may raise. `param`: the
        request's field with the query.

        `way` reranked is for an index that has a reranker. Raises ApiError: 400 the embedder cannot read the query, 429
        there is no room, 503 after `abort`, 504 too late.
        """
        if self._ended:
            raise unavailable("draining")
        if refusal := self.refusal():
            raise refusal
        self._count(1)
        try:
            async with asyncio.timeout(self._deadline):
                vector = None if way == "text" else await self._embedded(query, request_id, spend, param)
                started = time.monotonic()
                hits = await self._hits(query, vector, k, way, request_id)
        except TimeoutError:
            raise deadline_passed(self._deadline) from None
        except ApiError as error:
            if self.exchanged and error.code in FAULTS and not request_id.endswith(AGAIN):
                loop = asyncio.get_running_loop()
                self.exchanged(RetrieveExchange(request_id, query, k, way, (), loop, error.code))
            raise
        except asyncio.CancelledError:
            self._metrics.cancelled()
            raise
        finally:
            self._count(-1)
        self._metrics.searched(way, time.monotonic() - started, hits[0].score if hits else None)
        found = self._found(hits)
        if self.exchanged and not request_id.endswith(AGAIN):
            texts = [each.passage.text for each in found]
            self.exchanged(RetrieveExchange(request_id, query, k, way, texts, asyncio.get_running_loop()))
        return found

    async def _hits(
        self, query: str, vector: "NDArray[np.float32] | None", k: int, way: Way, request_id: str
    ) -> list[Hit]:
        search, loop = self._store.search, asyncio.get_running_loop()
        if way != "reranked":
            return await loop.run_in_executor(self._pool, search, vector, query, k, way)
        assert self._reranking
        engine, count = self._reranking.engine, self._reranking.candidates
        hits = await loop.run_in_executor(self._pool, search, vector, query, count, "hybrid")
        texts = [self.passages.passage(hit.number).embedded for hit in hits]
        pairs = Pairs(query, texts, self._reranking.cut, self._reranking.lengths)
        answers = await engine.answer(pairs.items, request_id, window=min(AT_ONCE, len(pairs.items)))
        return ordered(hits, pairs.best([float(arrays[0][1]) for arrays in answers]))[:k]

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
