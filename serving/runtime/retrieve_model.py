"""An index: its embedder and table loaded, held against the golden queries, and started."""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

from base.errors import MetrolineError
from data.index import golden
from data.index.passages import Passages
from data.index.store import Store, StoreConfig
from data.index.stores import opened
from data.signature import TextInput
from serving.engines.retrieve.bundle import TABLE, RetrieveBundle
from serving.engines.retrieve.engine import Reranking, RetrieveEngine
from serving.http.settings import Settings
from serving.runtime import forward_model
from serving.runtime.loaded_model import LoadedModel
from serving.runtime.retrieve_metrics import RetrieveMetrics

log = logging.getLogger("metroline.runtime")


@dataclass(frozen=True)
class RetrieveModel(LoadedModel):
    """A loaded index."""

    bundle: RetrieveBundle
    engine: RetrieveEngine
    metrics: RetrieveMetrics

    def describe(self) -> dict[str, Any]:
        """What /v1/models says about it."""
        passages = self.engine.passages
        more = {"documents": len(passages.sources), "chunks": len(passages), "threshold": self.bundle.threshold,
                "mode": self.engine.way}  # fmt: skip
        return super().describe() | more


def load(bundle: RetrieveBundle, settings: Settings) -> RetrieveModel:
    """Load a verified bundle, compare its golden queries, and start its engine.

    Raises MetrolineError: it does not find what was found when it was exported.
    """
    started = time.monotonic()
    passages = Passages(bundle.path)
    store = opened(bundle.path / TABLE, StoreConfig(**bundle.store))
    if len(store) != len(passages):
        raise MetrolineError(f"{bundle.path}: {len(store)} chunks in the table, {len(passages)} of the documents")
    ready = forward_model.ready(bundle.embedder, settings)
    (text,) = ready.bundle.typed.inputs
    assert isinstance(text, TextInput)
    queries = golden.load(bundle.path)
    _check(bundle, queries, ready, text.query_prefix, store, passages)
    metrics = RetrieveMetrics(bundle, passages)
    engine = RetrieveEngine(
        forward_model.started(ready, settings).engine, text.query_prefix, store, passages, metrics,
        _reranking(bundle, settings), queue=settings.waiting_items, deadline=settings.deadline, threads=settings.cores,
    )  # fmt: skip
    fields = {
        "model": bundle.name, "version": bundle.version, "precision": bundle.precision, "chunks": len(passages),
        "golden": len(queries), "seconds": round(time.monotonic() - started, 3),
    }  # fmt: skip
    log.info("model loaded", extra={"fields": fields})
    return RetrieveModel(bundle, engine, metrics)


def _reranking(bundle: RetrieveBundle, settings: Settings) -> Reranking | None:
    """The reranker, started; None: the index has none. Raises MetrolineError: it answers its golden items otherwise."""
    if bundle.reranker is None:
        return None
    model = forward_model.started(forward_model.ready(bundle.reranker, settings), settings)
    first, second = model.bundle.typed.inputs
    assert isinstance(first, TextInput)
    assert isinstance(second, TextInput)
    return Reranking(model.engine, model.prepare.cut, (first.length, second.length), bundle.candidates)


def _check(
    bundle: RetrieveBundle, queries: list[golden.Query], ready: forward_model.Ready, prefix: str, store: Store,
    passages: Passages,
) -> None:  # fmt: skip
    """Raise MetrolineError for the first golden query that finds something else."""
    for each in queries:
        ((vector, *_),) = ready.graph.run([ready.prepare((prefix + each.query,))])
        hits = store.search(vector, each.query, golden.KEPT, each.mode)  # type: ignore[arg-type]
        found = [asdict(passages.passage(hit.number)) | {"score": hit.score} for hit in hits]
        if problem := golden.compare(each, found):
            raise MetrolineError(f"{bundle.path}: golden {problem}", hint="build and export the index again")
