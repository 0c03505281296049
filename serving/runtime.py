"""What one server process holds: the bundle, the engine, the metrics, and how far along it is.

Loading happens in a thread, so that /livez answers from the start and /readyz tells the truth: it is ready when the
model is loaded and has answered once. It knows no HTTP.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from data.errors import MetrolineError
from serving.errors import unavailable
from serving.settings import Settings

if TYPE_CHECKING:  # imported in the loading thread: the parent process needs neither NumPy nor ONNX Runtime
    from serving.bundle import Bundle
    from serving.engine import Engine
    from serving.metrics import Metrics
    from serving.text import Vocabulary

log = logging.getLogger("metroline.runtime")

PATIENCE = 10.0
"""Seconds that a request waits for the model to be loaded before it gets 503: a reload loses no request."""


class Runtime:
    """The state of this process. Made when the service is imported, filled by `start` in a worker."""

    bundle: "Bundle"
    vocabulary: "Vocabulary"
    engine: "Engine"

    def __init__(self) -> None:
        self.state: Literal["new", "loading", "ready", "failed"] = "new"
        self.draining = False  # new requests get 503
        self.leaving = False  # connections are closed after their answer
        self.requests = 0
        self.metrics: Metrics | None = None
        self._settled = asyncio.Event()

    def start(self, settings: Settings) -> None:
        """Begin to load, from the event loop's thread."""
        self.settings, self.state = settings, "loading"
        loop = asyncio.get_running_loop()

        def load() -> None:
            try:
                self._load()
                self.state = "ready"
            except MetrolineError as error:
                self.state = "failed"
                log.error("model not loaded", extra={"fields": {"problem": str(error)}})
            except Exception:
                self.state = "failed"
                log.exception("model not loaded")
            loop.call_soon_threadsafe(self._settled.set)

        threading.Thread(target=load, name="metroline-load", daemon=True).start()

    def _load(self) -> None:
        from serving.bundle import Bundle, locate
        from serving.drift import Drift
        from serving.engine import Engine
        from serving.graph import Graph, threads_for
        from serving.metrics import Metrics
        from serving.text import Vocabulary

        started, settings = time.monotonic(), self.settings
        self.bundle = Bundle.load(locate(), settings.precision)
        self.vocabulary = Vocabulary(self.bundle.path / "tokenizer.json", self.bundle.vocab_size)
        threads = settings.threads or threads_for(self.bundle, settings.cores)
        graph = Graph(self.bundle, threads)
        for _ in graph.prefill([self.bundle.eos] * min(8, self.bundle.context)):
            pass
        graph.decode(self.bundle.eos, min(8, self.bundle.context - 1))
        self.metrics = Metrics(self.bundle)
        self.engine = Engine(
            graph, self.vocabulary, self.bundle.eos, self.metrics, Drift(self.bundle.reference),
            queue=settings.queue, deadline=settings.deadline,
        )  # fmt: skip
        self.engine.start()
        fields = {"model": self.bundle.name, "version": self.bundle.version, "precision": self.bundle.precision,
                  "threads": threads, "seconds": round(time.monotonic() - started, 3)}  # fmt: skip
        log.info("model loaded", extra={"fields": fields})

    @property
    def alive(self) -> bool:
        """Nothing is broken for good."""
        return self.state in ("new", "loading") or (self.state == "ready" and self.engine.alive)

    @property
    def ready(self) -> bool:
        """The model answers, and new requests are welcome."""
        return self.state == "ready" and self.engine.alive and not self.leaving

    async def until_ready(self) -> None:
        """Wait for the model. Raises ApiError 503 when it failed, or does not come within PATIENCE seconds."""
        if self.state != "ready":
            try:
                await asyncio.wait_for(self._settled.wait(), PATIENCE)
            except TimeoutError:
                raise unavailable("loading") from None
        if self.state != "ready" or not self.engine.alive:
            raise unavailable("failed")

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request while it is handled; the last ones are waited for when the server goes down."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
