"""A released reranker without a server: how well texts answer a query, as the endpoint says it, to the last bit.

reranker = Reranker.load(Path("artifacts/minilm-rerank/bundle"))
reranker.score("Who wrote it?", ["It was written by ...", "..."])      # float32 [texts], 0 to 1
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from serving.engines.forward import golden_check
from serving.engines.forward.bundle import ForwardBundle, ranks
from serving.engines.forward.graph import ForwardGraph, Prepared
from serving.engines.forward.preparation import Preparation
from serving.runtime.precision import settle_forward


class Reranker:
    """One caller at a time."""

    def __init__(self, prepare: Preparation, graph: ForwardGraph, length: int) -> None:
        self._prepare, self._graph = prepare, graph
        self.length = length
        """Most tokens of a text."""

    @classmethod
    def load(cls, path: Path, precision: str | None = None, threads: int = 1) -> "Reranker":
        """Verify a bundle and compare its golden items. Raises MetrolineError: damaged, or no reranker."""
        bundle = ForwardBundle.load(path, precision)
        if not ranks(bundle.signature):
            raise MetrolineError(f"{path}: {bundle.name} ranks no documents", hint="take a bundle of the task rerank")
        prepare = Preparation(bundle)
        items = golden_check.prepared(bundle, prepare)
        bundle = settle_forward(bundle, threads, [ready for _, ready in items])
        graph = ForwardGraph(bundle.graph, bundle.typed, threads)
        graph.settle([ready for _, ready in items])
        golden_check.check(bundle, graph, items)
        return cls(prepare, graph, bundle.typed.inputs[1].length)  # type: ignore[union-attr]

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """How well each text answers the query, [texts]. Raises BadItem: one that is empty, or has too many tokens
        (see `cut`)."""
        items = [self._prepare((query, text)) for text in texts]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for number, item in enumerate(items):
            groups.setdefault(item.shape, []).append(number)
        found = np.zeros(len(items), np.float32)
        for numbers in groups.values():
            room = self._graph.room(items[numbers[0]])
            for at in range(0, len(numbers), room):
                part = numbers[at : at + room]
                found[part] = self._run([items[number] for number in part])
        return found

    def cut(self, text: str, most: int | None = None) -> str:
        """The first tokens of a text: as many as the model takes, or `most`."""
        return self._prepare.cut(text, min(most or self.length, self.length))

    def _run(self, items: Sequence[Prepared]) -> list[float]:
        return [float(arrays[0][1]) for arrays in self._graph.run(items)]
