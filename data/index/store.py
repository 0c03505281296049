"""What an index asks of the store that holds its chunks. One table, three ways to search it.

`data.index.lance` is the one there is. Another one (Milvus, whose client has dense vectors and BM25 too) would have
these four methods, and be named in `data.index.stores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["vector", "text", "hybrid"]
MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
Way = Literal["vector", "text", "hybrid", "reranked"]
WAYS: tuple[Way, ...] = (*MODES, "reranked")
"""How an index is searched: the store's modes, and a reranker's order of what hybrid search finds."""
FOLDER = "table"
"""Where the store lies in a checkpoint and in a bundle."""


@dataclass(frozen=True)
class Hit:
    """One chunk that was found."""

    number: int
    """Of the chunk."""
    score: float
    """vector: the cosine; text: BM25; hybrid: see `fused`. The higher, the better."""
    cosine: float | None = None
    """Where the vectors were compared."""


@dataclass(frozen=True)
class StoreConfig:
    """How the store searches. Below `approximate_from` chunks every vector is compared: the search is exact."""

    approximate_from: int = 50_000
    probes: int = 32
    refine: int = 10
    weight: float = 0.5
    """Of the cosine in hybrid search."""
    language: str = "English"


class Store(Protocol):
    """A table of chunks with vectors of length 1 and texts."""

    def add(self, numbers: Sequence[int], vectors: "NDArray[np.float32]", texts: Sequence[str]) -> None:
        """Put chunks in: vectors float32 [n, W]."""

    def finish(self) -> None:
        """All are in: make what searching needs. The folder does not change from then on."""

    def search(self, vector: "NDArray[np.float32] | None", text: str, k: int, mode: Mode) -> list[Hit]:
        """The best `k` chunks, best first. `vector`: float32 [W], for all but mode text. Safe to call from threads."""

    def __len__(self) -> int: ...


def fused(near: Sequence[Hit], words: Sequence[Hit], weight: float) -> list[Hit]:
    """Both searches' chunks by `weight` × cosine + (1 − `weight`) × BM25 relative to the best one's, the best first.

    A convex combination keeps how much better a chunk is, which ranks forget. Over XQuAD recall@1 is 0.95 by it, 0.92
    by reciprocal ranks (benchmarks/rag.py); Bruch, Gai, Ingber (2023, https://doi.org/10.1145/3596512) found the same.
    A chunk that the search by words did not find has no BM25. `words` come with their cosines.
    """
    best = max((hit.score for hit in words), default=1.0)
    relative = {hit.number: hit.score / best for hit in words}
    cosines = {hit.number: hit.cosine or 0.0 for hit in (*near, *words)}
    found = [
        Hit(number, weight * cosine + (1 - weight) * relative.get(number, 0.0), cosine)
        for number, cosine in cosines.items()
    ]
    return sorted(found, key=lambda hit: (-hit.score, hit.number))
