"""An index as a checkpoint, opened: what is asked is embedded, searched and reranked as serving will."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from base.files import read_object
from data.index.passages import Passages
from data.index.reranked import ordered
from data.index.store import FOLDER as TABLE
from data.index.store import Hit, Store, StoreConfig, Way
from data.index.stores import opened
from pipelines.tasks.index.embedder import FOLDER as EMBEDDER
from pipelines.tasks.index.embedder import Embedder
from pipelines.tasks.index.reranker import FOLDER as RERANKER
from pipelines.tasks.index.reranker import Reranker

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Searched:
    """A built index. Raises MetrolineError: damaged."""

    def __init__(self, checkpoint: Path) -> None:
        self.folder = checkpoint
        self.config: dict[str, Any] = read_object(checkpoint / CONFIG)
        self.passages = Passages(checkpoint)
        self.embedder = Embedder(checkpoint / EMBEDDER)
        self._scores: dict[tuple[str, int], float] = {}
        there = (checkpoint / RERANKER).is_dir()
        self.reranker = Reranker(checkpoint / RERANKER) if there else None
        self.store: Store = opened(checkpoint / TABLE, StoreConfig(**self.config["store"]))

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Of all chunks, [chunks, W]."""
        return load_file(self.folder / WEIGHTS)["vectors"]

    @cached_property
    def documents(self) -> NDArray[np.str_]:
        """The name of each chunk's document, [chunks]."""
        return np.array([self.passages.document(number) for number in range(len(self.passages))])

    @property
    def way(self) -> Way:
        """How it is searched where nothing else is said."""
        return "reranked" if self.reranker else "hybrid"

    def search(self, question: str, vector: NDArray[np.float32], k: int, way: Way) -> list[Hit]:
        """The best chunks."""
        if way == "reranked":
            return self.reranked(question, self.store.search(vector, question, self.config["candidates"], "hybrid"))[:k]
        return self.store.search(None if way == "text" else vector, question, k, way)

    def reranked(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        """These chunks in the reranker's order. What it said before it is not asked again."""
        assert self.reranker
        new = [hit.number for hit in hits if (question, hit.number) not in self._scores]
        scores = self.reranker.scores(question, [self.passages.passage(number).embedded for number in new])
        self._scores |= {(question, number): score for number, score in zip(new, scores, strict=True)}
        return ordered(hits, [self._scores[question, hit.number] for hit in hits])

    def exact(self, vector: NDArray[np.float32], k: int) -> list[int]:
        """Numbers of the nearest chunks, each vector compared in float64."""
        cosines = self.vectors.astype(np.float64) @ vector.astype(np.float64)
        return np.argsort(-cosines, kind="stable")[:k].tolist()
