"""What the server counts, for Prometheus on /metrics. All series carry the labels `model` and `version`.

BentoML keeps metrics in files that its processes share, found by an environment variable which it sets before a worker
starts. So prometheus_client is imported here, in functions, and not at the top.
Label values are bounded: routes are templates, statuses and reasons come from short lists.
"""

import glob
import os
from typing import Any, Protocol

from serving.bundle import Bundle

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
STEP_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
NATS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)
REASONS = ("invalid", "too_large", "queue_full", "loading", "draining", "failed", "deadline")


class EngineMetrics(Protocol):
    """What the engine reports. Called from its thread."""

    def queued(self, count: int) -> None:
        """Requests that wait."""

    def active(self, count: int) -> None:
        """Requests that are being answered."""

    def started(self, seconds: float, tokens_in: int) -> None:
        """A request left the queue after `seconds`."""

    def first_token(self, seconds: float) -> None:
        """A request's first token came `seconds` after its arrival."""

    def token(self, seconds: float | None) -> None:
        """A token came; `seconds` since the one before it in its choice, None: it is the first."""

    def cancelled(self) -> None:
        """A client went away before its request was done."""

    def prompt(self, loss: float, drift: float) -> None:
        """A prompt's mean loss in nats a token, and the drift score after it."""


class Metrics:
    """The Prometheus series of one worker."""

    def __init__(self, bundle: Bundle, registry: Any = None) -> None:
        """`registry`: prometheus_client's default when None, which BentoML's /metrics shows."""
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        registry = registry or REGISTRY
        drop_dead_workers()
        labels = {"model": bundle.name, "version": bundle.version}
        names = list(labels)

        def counter(name: str, text: str, more: tuple[str, ...] = ()) -> Any:
            made = Counter(f"metroline_{name}", text, [*names, *more], registry=registry)
            return made if more else made.labels(**labels)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Any:
            made = Histogram(f"metroline_{name}", text, names, buckets=buckets, registry=registry)
            return made.labels(**labels)

        def gauge(name: str, text: str, mode: Any, more: tuple[str, ...] = ()) -> Any:
            made = Gauge(f"metroline_{name}", text, [*names, *more], registry=registry, multiprocess_mode=mode)
            return made if more else made.labels(**labels)

        self._labels = labels
        self._requests = counter("requests_total", "Requests by route and HTTP status", ("route", "status"))
        self._rejected = counter("rejected_total", "Requests refused, by reason", ("reason",))
        self._cancelled = counter("cancelled_total", "Requests whose client went away before they were done")
        self._tokens_in = counter("tokens_in_total", "Tokens of prompts")
        self._tokens_out = counter("tokens_out_total", "Tokens generated")
        self._request_seconds = histogram("request_seconds", "Whole completions, arrival to last byte", SECONDS)
        self._queue_seconds = histogram("queue_seconds", "Wait before the model starts on a request", SECONDS)
        self._first_seconds = histogram("time_to_first_token_seconds", "Arrival to first token", SECONDS)
        self._step_seconds = histogram("time_per_token_seconds", "Time between tokens of one stream", STEP_SECONDS)
        self._prompt_loss = histogram("prompt_loss", "Mean negative log-likelihood of a prompt, nats a token", NATS)
        self._active = gauge("active_streams", "Requests that are being answered", "livesum")
        self._queued = gauge("queued_requests", "Requests that wait", "livesum")
        self._drift = gauge("drift_score", "|mean recent prompt loss - reference| / reference deviation", "livemax")
        self._loaded = gauge("model_loaded_timestamp_seconds", "When the model was loaded, Unix time", "livemax")
        self._loaded.set_to_current_time()
        info = gauge("model_info", "What is served; always 1", "livemax", ("data_hash", "precision"))
        info.labels(**labels, data_hash=bundle.data_hash, precision=bundle.precision).set(1)
        for reason in REASONS:  # so that rates are defined before the first one
            self._rejected.labels(**labels, reason=reason)
        self._requests.labels(**labels, route="/v1/completions", status="200")
        for each in (self._active, self._queued, self._drift):
            each.set(0)

    def request(self, route: str, status: int) -> None:
        """A request was answered. `route`: one of a few templates."""
        self._requests.labels(**self._labels, route=route, status=str(status)).inc()

    def completion(self, seconds: float) -> None:
        """A request to /v1/completions was answered completely."""
        self._request_seconds.observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was refused; `reason` is one of `REASONS`."""
        self._rejected.labels(**self._labels, reason=reason).inc()

    def queued(self, count: int) -> None:
        """See EngineMetrics."""
        self._queued.set(count)

    def active(self, count: int) -> None:
        """See EngineMetrics."""
        self._active.set(count)

    def started(self, seconds: float, tokens_in: int) -> None:
        """See EngineMetrics."""
        self._queue_seconds.observe(seconds)
        self._tokens_in.inc(tokens_in)

    def first_token(self, seconds: float) -> None:
        """See EngineMetrics."""
        self._first_seconds.observe(seconds)

    def token(self, seconds: float | None) -> None:
        """See EngineMetrics."""
        self._tokens_out.inc()
        if seconds is not None:
            self._step_seconds.observe(seconds)

    def cancelled(self) -> None:
        """See EngineMetrics."""
        self._cancelled.inc()

    def prompt(self, loss: float, drift: float) -> None:
        """See EngineMetrics."""
        self._prompt_loss.observe(loss)
        self._drift.set(drift)


def drop_dead_workers() -> None:
    """Remove the gauges of workers that crashed: a dead worker streams nothing and serves no model."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    from prometheus_client.multiprocess import mark_process_dead

    for file in glob.glob(os.path.join(folder, "gauge_live*_*.db")):
        pid = int(file.rsplit("_", 1)[1].removesuffix(".db"))
        if not os.path.exists(f"/proc/{pid}") and os.path.isdir("/proc/self"):
            mark_process_dead(pid)
