"""What the server counts of an index, for Prometheus.

Beside those of all models (prefix `metroline_`): search_seconds{mode}, search_score{mode} (histograms: of table and
reranker, of the first passage's score), search_empty_total{mode}, irrelevant_total (chats told that the documents say
nothing); index_chunks, index_documents, index_built_timestamp_seconds (gauges: how large and how old it is).
"""

from typing import Any

from data.index.passages import Passages
from data.index.store import WAYS
from serving.engines.retrieve.bundle import RetrieveBundle
from serving.runtime.metrics import STEP_SECONDS, ModelMetrics

SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Bounds for cosines, alone or with relative BM25, and for BM25."""


class RetrieveMetrics(ModelMetrics):
    """The series of an index."""

    def __init__(self, bundle: RetrieveBundle, passages: Passages, registry: Any = None) -> None:
        """See ModelMetrics."""
        super().__init__(bundle, registry)
        self._seconds = self.histogram("search_seconds", "Search and reranking, without embedding", STEP_SECONDS,
                                       ("mode",))  # fmt: skip
        self._scores = self.histogram("search_score", "Score of the first passage", SCORES, ("mode",))
        self._empty = self.counter("search_empty_total", "Searches that found nothing", ("mode",))
        self._irrelevant = self.counter("irrelevant_total", "Chats told that the documents say nothing of it")
        for mode in WAYS[: len(WAYS) if bundle.reranker else -1]:
            self._empty.labels(**self._labels, mode=mode)
        self._requests.labels(**self._labels, route="/v1/search", status="200")
        self.gauge("index_chunks", "Chunks of the index", "livemax").set(len(passages))
        self.gauge("index_documents", "Documents of the index", "livemax").set(len(passages.sources))
        self.gauge("index_built_timestamp_seconds", "When it was built, Unix time", "livemax").set(bundle.created)

    def searched(self, mode: str, seconds: float, best: float | None) -> None:
        """See RetrieveEngineMetrics."""
        self._seconds.labels(**self._labels, mode=mode).observe(seconds)
        if best is None:
            self._empty.labels(**self._labels, mode=mode).inc()
        else:
            self._scores.labels(**self._labels, mode=mode).observe(best)

    def irrelevant(self) -> None:
        """See RetrieveEngineMetrics."""
        self._irrelevant.inc()
