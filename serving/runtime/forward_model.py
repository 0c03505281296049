"""A model that answers in one call: loaded, held against its golden items, and started."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from data import golden
from serving.engines.exchange import Exchange
from serving.engines.forward import golden_check
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.drift import ForwardDrift
from serving.engines.forward.engine import ForwardEngine
from serving.engines.forward.exchange import ForwardExchange
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

    def golden(self) -> Sequence[Exchange]:
        """See LoadedModel."""
        items = golden.load(self.bundle.path, self.bundle.typed)
        return [ForwardExchange(f"golden-{number}", [item.inputs], None) for number, item in enumerate(items)]


@dataclass(frozen=True)
class Ready:
    """A graph that answers its golden items as the trained model did, before its engine runs."""

    bundle: ForwardBundle
    """With the precision that was chosen."""
    prepare: Preparation
    graph: ForwardGraph
    golden: int
    """Items that were compared."""
    threads: int


def load(bundle: ForwardBundle, settings: Settings) -> ForwardModel:
    """Load a verified bundle, compare its golden items, and start its engine.

    Raises MetrolineError: it does not answer them as the trained model did.
    """
    begun = time.monotonic()
    model_ready = ready(bundle, settings)
    model = started(model_ready, settings)
    fields = {
        "model": bundle.name, "version": bundle.version, "precision": model.bundle.precision,
        "threads": model_ready.threads, "batches": model_ready.graph.sizes, "golden": model_ready.golden,
        "seconds": round(time.monotonic() - begun, 3),
    }  # fmt: skip
    log.info("model loaded", extra={"fields": fields})
    return model


def ready(bundle: ForwardBundle, settings: Settings) -> Ready:
    """Load a verified bundle, and compare its golden items. Raises MetrolineError as `load` does."""
    prepare = Preparation(bundle)
    items = golden_check.prepared(bundle, prepare)
    bundle = settle_forward(bundle, settings.threads or settings.cores, [each for _, each in items])
    threads = settings.threads or threads_for(bundle, settings.cores)
    graph = ForwardGraph(bundle.graph, bundle.typed, threads)
    graph.settle([each for _, each in items])
    golden_check.check(bundle, graph, items)
    release_memory()
    return Ready(bundle, prepare, graph, len(items), threads)


def started(model: Ready, settings: Settings) -> ForwardModel:
    """Start the engine of what is ready."""
    bundle, metrics = model.bundle, ForwardMetrics(model.bundle)
    engine = ForwardEngine(
        bundle.typed, model.prepare, model.graph, metrics, ForwardDrift(bundle.typed, bundle.reference),
        queue=settings.waiting_items, deadline=settings.deadline, decoders=settings.cores,
        at_once=model.prepare.at_once,
    )  # fmt: skip
    engine.start()
    return ForwardModel(bundle, engine, metrics, model.prepare)
