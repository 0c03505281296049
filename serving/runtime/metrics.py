"""What the server counts, for Prometheus on /metrics. All series carry the labels `model` and `version`.

BentoML keeps metrics in files that its processes share, found by an environment variable which it sets before a worker
starts. So prometheus_client is imported here, in functions, and not at the top.
Label values are bounded: routes are templates, statuses and reasons come from short lists.

What dashboards and alerts use of the engine (prefix `metroline_`; gauges of several workers add up):
- running and queued: active_streams, queued_requests (requests), running_sequences of slots (sequences)
- cache: kv_tokens_used of kv_tokens_capacity; prefix_hits_total of prefix_lookups_total, prefix_tokens_total
- speed: time_to_first_token_seconds, time_per_token_seconds, queue_seconds, batch_size (histograms);
  tokens_in_total, tokens_out_total; speculated_accepted_total of speculated_tokens_total
- trouble: cancelled_total, rejected_total{reason}, engine_restarts_total
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from serving.bundle import Bundle

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
STEP_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.25, 1.0)
BATCHES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
NATS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)
FILES = ("counter", "histogram", "summary", "gauge_all", "gauge_livesum", "gauge_livemax")
"""The kinds of files that prometheus_client may write for our metrics and BentoML's."""

REASONS = ("invalid", "too_large", "queue_full", "loading", "draining", "failed", "deadline", "unauthorized",
           "rate_limit")  # fmt: skip

DECISIONS = ("promote", "rollback")

_families: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""Registry → name → what was registered there."""


class ModelMetrics:
    """The Prometheus series of one model in one worker that every engine has."""

    def __init__(self, bundle: Bundle, registry: Any = None) -> None:
        """`registry`: prometheus_client's default when None, which BentoML's /metrics shows."""
        from prometheus_client import REGISTRY

        self._registry = registry or REGISTRY
        drop_dead_workers()
        self._labels = {"model": bundle.name, "version": bundle.version}
        self._requests = self.counter("requests_total", "Requests by route and HTTP status", ("route", "status"))
        self._answered: dict[tuple[str, int], Any] = {}
        self._rejected = self.counter("rejected_total", "Requests refused, by reason", ("reason",))
        self._cancelled = self.counter("cancelled_total", "Requests whose client went away before they were done")
        self._request_seconds = self.histogram("request_seconds", "Whole answers, arrival to last byte", SECONDS)
        self._queue_seconds = self.histogram("queue_seconds", "Wait before the model starts on a request", SECONDS)
        self._active = self.gauge("active_streams", "Requests that are being answered", "livesum")
        self._queued = self.gauge("queued_requests", "Requests that wait", "livesum")
        self._batch = self.histogram("batch_size", "Sequences in one decode step, items in one forward pass", BATCHES)
        self._restarts = self.counter("engine_restarts_total", "Times that the engine failed and started again")
        self._loaded = self.gauge("model_loaded_timestamp_seconds", "When the model was loaded, Unix time", "livemax")
        self._loaded.set_to_current_time()
        info = self.gauge("model_info", "What is served; always 1", "livemax", ("data_hash", "precision"))
        info.labels(**self._labels, data_hash=bundle.data_hash, precision=bundle.precision).set(1)
        self._feedback = self.counter(
            "feedback_total",
            "Feedback by what it says of the answer: right, wrong, late, other",
            ("outcome",),
        )
        self._decided = self.counter("delivery_decisions_total", "Of this version as a candidate", ("decision",))
        self._sampled = self.counter("samples_total", "Requests kept as samples, or dropped", ("outcome",))
        for reason in REASONS:  # so that rates are defined before the first one
            self._rejected.labels(**self._labels, reason=reason)
        for decision in DECISIONS:
            self._decided.labels(**self._labels, decision=decision)
        for each in (self._active, self._queued):
            each.set(0)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of all its series."""
        return self._labels

    def counter(self, name: str, text: str, more: tuple[str, ...] = ()) -> Any:
        """A counter; `more`: labels beside the model's."""
        from prometheus_client import Counter as Counts

        return self._family(Counts, name, text, more)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], more: tuple[str, ...] = ()) -> Any:
        """A histogram."""
        from prometheus_client import Histogram

        return self._family(Histogram, name, text, more, buckets=buckets)

    def gauge(self, name: str, text: str, mode: Any, more: tuple[str, ...] = ()) -> Any:
        """A gauge; `mode`: how those of several workers add up."""
        from prometheus_client import Gauge

        return self._family(Gauge, name, text, more, multiprocess_mode=mode)

    def _family(self, kind: Any, name: str, text: str, more: tuple[str, ...], **options: Any) -> Any:
        families = _families.setdefault(self._registry, {})
        if name not in families:  # the models of a process share them
            names = [*self._labels, *more]
            families[name] = kind(f"metroline_{name}", text, names, registry=self._registry, **options)
        return families[name] if more else families[name].labels(**self._labels)

    def request(self, route: str, status: int) -> None:
        """A request was answered. `route`: one of a few templates."""
        if (series := self._answered.get((route, status))) is None:  # looking one up costs more than counting in it
            series = self._answered[route, status] = self._requests.labels(
                **self._labels, route=route, status=str(status)
            )
        series.inc()

    def feedback(self, outcome: str) -> None:
        """Feedback was kept. `outcome`: right, wrong, late or other."""
        self._feedback.labels(**self._labels, outcome=outcome).inc()

    def sampled(self, outcome: str) -> None:
        """A request was to be kept as a sample. `outcome`: kept or dropped."""
        self._sampled.labels(**self._labels, outcome=outcome).inc()

    def decided(self, decision: str) -> None:
        """What became of a candidate. `decision`: one of `DECISIONS`."""
        self._decided.labels(**self._labels, decision=decision).inc()

    def completion(self, seconds: float) -> None:
        """A request for an answer was answered completely."""
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

    def restarted(self) -> None:
        """See EngineMetrics."""
        self._restarts.inc()

    def cancelled(self) -> None:
        """See EngineMetrics."""
        self._cancelled.inc()


class Metrics(ModelMetrics):
    """The series of a decoder."""

    def __init__(self, bundle: Bundle, registry: Any = None) -> None:
        """See ModelMetrics."""
        super().__init__(bundle, registry)
        self._tokens_in = self.counter("tokens_in_total", "Tokens of prompts")
        self._tokens_out = self.counter("tokens_out_total", "Tokens generated")
        self._first_seconds = self.histogram("time_to_first_token_seconds", "Arrival to first token", SECONDS)
        self._step_seconds = self.histogram("time_per_token_seconds", "Time between tokens of one stream", STEP_SECONDS)
        self._prompt_loss = self.histogram(
            "prompt_loss", "Mean negative log-likelihood of a prompt, nats a token", NATS
        )
        self._slots = self.gauge("slots", "Sequences that may run at once", "livesum")
        self._running = self.gauge("running_sequences", "Sequences that run; a request may have several", "livesum")
        self._kv_capacity = self.gauge("kv_tokens_capacity", "Tokens that the key/value cache may hold", "livesum")
        self._kv_used = self.gauge("kv_tokens_used", "Tokens set aside in the key/value cache for what runs", "livesum")
        self._prefix_lookups = self.counter(
            "prefix_lookups_total", "Prompts whose beginning was looked up in the cache"
        )
        self._prefix_hits = self.counter("prefix_hits_total", "Prompts whose beginning was in the cache")
        self._prefix_tokens = self.counter("prefix_tokens_total", "Tokens of prompts taken from the cache")
        self._guessed = self.counter("speculated_tokens_total", "Tokens guessed by prompt lookup")
        self._accepted = self.counter("speculated_accepted_total", "Guessed tokens that were right")
        self._drift = self.gauge(
            "drift_score", "|mean recent prompt loss - reference| / reference deviation", "livemax"
        )
        self._requests.labels(**self._labels, route="/v1/completions", status="200")
        for each in (self._running, self._kv_used, self._drift):
            each.set(0)

    def capacity(self, slots: int, tokens: int) -> None:
        """See EngineMetrics."""
        self._slots.set(slots)
        self._kv_capacity.set(tokens)

    def running(self, sequences: int, tokens: int) -> None:
        """See EngineMetrics."""
        self._running.set(sequences)
        self._kv_used.set(tokens)

    def prefix(self, tokens: int) -> None:
        """See EngineMetrics."""
        self._prefix_lookups.inc()
        if tokens:
            self._prefix_hits.inc()
            self._prefix_tokens.inc(tokens)

    def speculated(self, guessed: int, accepted: int) -> None:
        """See EngineMetrics."""
        self._guessed.inc(guessed)
        self._accepted.inc(accepted)

    def started(self, seconds: float, tokens_in: int) -> None:
        """See EngineMetrics."""
        self._queue_seconds.observe(seconds)
        self._tokens_in.inc(tokens_in)

    def first_token(self, seconds: float) -> None:
        """See EngineMetrics."""
        self._first_seconds.observe(seconds)

    def steps(self, sizes: Sequence[int], seconds: Sequence[float | None]) -> None:
        """See EngineMetrics."""
        observe_all(self._batch, sizes)
        self._tokens_out.inc(len(seconds))
        observe_all(self._step_seconds, [each for each in seconds if each is not None])

    def prompt(self, loss: float, drift: float) -> None:
        """See EngineMetrics."""
        self._prompt_loss.observe(loss)
        self._drift.set(drift)


class AdapterMetrics(ModelMetrics):
    """The series of an adapter. Its base's engine counts its steps and tokens with all others."""

    def __init__(self, bundle: Bundle, registry: Any = None) -> None:
        """See ModelMetrics."""
        super().__init__(bundle, registry)
        self._tokens_in = self.counter("adapter_tokens_in_total", "Tokens of prompts to an adapter")
        self._tokens_out = self.counter("adapter_tokens_out_total", "Tokens generated with an adapter")
        self._requests.labels(**self._labels, route="/v1/completions", status="200")

    def answered(self, tokens_in: int, tokens_out: int) -> None:
        """A request has ended."""
        self._tokens_in.inc(tokens_in)
        self._tokens_out.inc(tokens_out)


def observe_all(histogram: Any, values: Sequence[float]) -> None:
    """What `histogram.observe` does for each value, at the price of one where they are alike, as those of steps are.

    prometheus_client has no public way to it; tests compare the two.
    """
    if values:
        histogram._sum.inc(sum(values))
        for bucket, count in Counter(bisect_left(histogram._upper_bounds, value) for value in values).items():
            histogram._buckets[bucket].inc(count)


def begin_files() -> None:
    """In a worker, before its first request: put all its files in place whole.

    prometheus_client begins each one empty, when something of its kind is counted first, and a scrape that finds an
    empty one fails.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    from prometheus_client.mmap_dict import MmapedDict

    for kind in FILES:
        path = os.path.join(folder, f"{kind}_{os.getpid()}.db")
        if not os.path.exists(path):
            MmapedDict(f"{path}.new").close()
            os.rename(f"{path}.new", path)


def drop_dead_workers() -> None:
    """Remove the gauges of workers that crashed: a dead worker streams nothing and serves no model."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    import psutil

    for file in Path(folder).glob("gauge_live*_*.db"):
        if not psutil.pid_exists(int(file.stem.rsplit("_", 1)[1])):
            file.unlink(missing_ok=True)  # another new worker may be removing it too
