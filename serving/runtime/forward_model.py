"""A model that answers in one call: loaded, held against its golden items, and started."""

import logging
import time
from dataclasses import dataclass

from serving.engines.forward import golden_check
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.drift import ForwardDrift
from serving.engines.forward.engine import ForwardEngine
from serving.engines.forward.graph import ForwardGraph
from serving.engines.forward.preparation import Preparation
from serving.engines.threads import threads_for
from serving.http.settings import Settings
from serving.runtime.forward_metrics import ForwardMetrics
from serving.runtime.loaded_model import LoadedModel
from serving.runtime.memory import release_memory
from serving.runtime.precision import settle_forward

log = logging.getLogger("metroline.runtime")


@dataclass(frozen=True)
class ForwardModel(LoadedModel):
    """A loaded model that answers in one call."""

    bundle: ForwardBundle
    engine: ForwardEngine
    metrics: ForwardMetrics
    prepare: Preparation


def load(bundle: ForwardBundle, settings: Settings) -> ForwardModel:
    """Load a verified bundle, compare its golden items, and start its engine.

    Raises MetrolineError: it does not answer them as the trained model did.
    """
    started = time.monotonic()
    prepare = Preparation(bundle)
    items = golden_check.prepared(bundle, prepare)
    bundle = settle_forward(bundle, settings.threads or settings.cores, [ready for _, ready in items])
    threads = settings.threads or threads_for(bundle, settings.cores)
    graph = ForwardGraph(bundle.graph, bundle.typed, threads)
    graph.settle([ready for _, ready in items])
    golden_check.check(bundle, graph, items)
    release_memory()
    metrics = ForwardMetrics(bundle)
    engine = ForwardEngine(
        bundle.typed, prepare, graph, metrics, ForwardDrift(bundle.typed, bundle.reference),
        queue=settings.waiting_items, deadline=settings.deadline, decoders=settings.cores,
        at_once=prepare.at_once,
    )  # fmt: skip
    engine.start()
    fields = {
        "model": bundle.name, "version": bundle.version, "precision": bundle.precision, "threads": threads,
        "batches": graph.sizes, "golden": len(items), "seconds": round(time.monotonic() - started, 3),
    }  # fmt: skip
    log.info("model loaded", extra={"fields": fields})
    return ForwardModel(bundle, engine, metrics, prepare)
