"""A decoder that this process serves: beside what all models have, its tokenizer and chat template."""

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.engines.decode.adapters import NONE, Adapter
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.call_styles import CallStyle, style_of
from serving.engines.decode.drift import Drift
from serving.engines.decode.engine import Engine
from serving.engines.decode.graph import Graph
from serving.engines.decode.state import StateGraph
from serving.engines.decode.text import Vocabulary
from serving.engines.threads import threads_for
from serving.http.settings import Settings
from serving.runtime.loaded_model import LoadedModel
from serving.runtime.memory import release_memory
from serving.runtime.metrics import AdapterMetrics, Metrics
from serving.runtime.precision import settle

if TYPE_CHECKING:
    from data.text.chat import Chats

log = logging.getLogger("metroline.runtime")

GRAPHS: dict[str, type[Graph] | type[StateGraph]] = {"kv": Graph, "state": StateGraph}
"""What runs a bundle, by what its sequences are remembered by."""


@dataclass(frozen=True)
class DecoderModel(LoadedModel):
    """A loaded decoder."""

    bundle: DecoderBundle
    engine: Engine
    metrics: Metrics | AdapterMetrics
    vocabulary: Vocabulary
    chats: "Chats | None"
    """How its chats are written; None: it was not trained for chats."""
    calls: CallStyle | None
    """How it calls tools; None: its template shows none, or calls are written in a form that is not known."""
    adapter: Adapter = NONE
    """What its requests go through beside the base's weights."""

    def describe(self) -> dict[str, Any]:
        """What /v1/models says about it."""
        bundle = self.bundle
        return super().describe() | {
            "context": bundle.context, "max_tokens": bundle.max_tokens, "vocab_size": bundle.vocab_size,
            "chat": self.chats is not None, "tools": self.calls and self.calls.name,
            **({"adapters": bundle.adapters} if bundle.adapters else {}),
        }  # fmt: skip

    def answered(self, tokens_in: int, tokens_out: int) -> None:
        """A request has ended. What the engine has counted already is not counted again."""


@dataclass(frozen=True)
class AdapterModel(DecoderModel):
    """An adapter over a loaded decoder: its engine and tokenizer, but a name, version and metrics of its own."""

    metrics: AdapterMetrics
    parent: str = ""
    """The base's name."""

    def describe(self) -> dict[str, Any]:
        """The same, and `parent`, as vLLM has it."""
        described = super().describe() | {"parent": self.parent}
        described.pop("adapters")
        return described

    def answered(self, tokens_in: int, tokens_out: int) -> None:
        """See DecoderModel."""
        self.metrics.answered(tokens_in, tokens_out)


def load(bundle: DecoderBundle, settings: Settings) -> DecoderModel:
    """Load a verified bundle, answer once, and start its engine. Raises MetrolineError."""
    started = time.monotonic()
    vocabulary = Vocabulary(bundle.path / "tokenizer.json", bundle.vocab_size)
    chats = calls = None
    if "chat_template.jinja" in bundle.files:
        from data.text.chat import Chats
        from data.text.templates import ChatTemplate

        if (template := ChatTemplate.load(bundle.path)) is not None:
            chats = Chats(template, vocabulary.special, vocabulary.encode, bundle.form)
            calls = style_of(template.source, vocabulary.special) if template.shows_tools else None
    bundle = settle(bundle, settings.threads or settings.cores, settings.native)
    threads = settings.threads or threads_for(bundle, settings.cores)
    graph = GRAPHS[bundle.cache](bundle, threads, settings.slots, settings.native)
    graph.warm_up()
    release_memory()
    metrics = Metrics(bundle)
    engine = Engine(
        graph, vocabulary, bundle.eos, metrics, Drift(bundle.reference, bundle.vocab_size),
        queue=settings.waiting_completions, deadline=settings.deadline, chunk=settings.prefill_chunk,
        kv_tokens=min(settings.slots * bundle.context, max(bundle.context, settings.kv_budget)),
        speculative=settings.speculative,
    )  # fmt: skip
    engine.start()
    fields = {"model": bundle.name, "version": bundle.version, "precision": bundle.precision,
              "threads": threads, "native": graph.native, "seconds": round(time.monotonic() - started, 3)}  # fmt: skip
    log.info("model loaded", extra={"fields": fields})
    return DecoderModel(bundle, engine, metrics, vocabulary, chats, calls)
