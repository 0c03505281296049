"""The last hour of the endpoint's own metrics, for the page /status: for those who have no Prometheus.

A worker notes the totals of all workers every few seconds, and turns neighbouring notes into rates. It knows its own
time only: after a reload the hour begins anew. Nothing is written.
"""

import asyncio
import logging
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

EVERY = 10.0
"""Seconds between two notes."""
HOUR = 3600.0
QUANTILES = {"p50": 0.5, "p99": 0.99}
GAUGES = {"queued": "metroline_queued_requests", "active": "metroline_active_streams"}

log = logging.getLogger("metroline.history")


@dataclass
class Note:
    """Totals of one model at a time."""

    requests: float = 0.0
    errors: float = 0.0
    """Answers with a status from 500 up."""
    refused: float = 0.0
    """With one from 400 to 499."""
    tokens: float = 0.0
    right: float = 0.0
    wrong: float = 0.0
    searches: float = 0.0
    empty: float = 0.0
    """Searches that found nothing."""
    irrelevant: float = 0.0
    """Chats that were told that the documents say nothing."""
    score: float = 0.0
    scored: float = 0.0
    """Sum and count of the best passages' scores, but BM25's, which have no bound."""
    looked: dict[float, float] = field(default_factory=dict)
    """As `buckets`, of searches."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Upper bound in seconds → requests that took no longer."""
    now: dict[str, float] = field(default_factory=dict)
    """Gauges."""


class History:
    """The notes of one worker."""

    def __init__(self, every: float = EVERY) -> None:
        self.every = every
        self.notes: deque[tuple[float, dict[str, Note]]] = deque(maxlen=int(HOUR / every) + 1)

    async def run(self) -> None:
        """Note the totals for ever."""
        while True:
            try:
                found = await asyncio.to_thread(lambda: read(families()))  # of many workers it takes a while
                self.notes.append((time.time(), found))
            except Exception:  # a worker that ends takes its files away while they are read
                log.warning("metrics not read", exc_info=True)
            await asyncio.sleep(self.every)

    def series(self, served: Iterable[str]) -> dict[str, Any]:
        """For each of these models the points of the last hour, oldest first; None: nothing to say at that time."""
        names = sorted({name for _, found in self.notes for name in found}.intersection(served))
        return {"every": self.every, "models": {name: self._points(name) for name in names}}

    def _points(self, name: str) -> list[dict[str, float | None]]:
        points = []
        for (before, earlier), (at, later) in zip(list(self.notes), list(self.notes)[1:], strict=False):
            a, b = earlier.get(name), later.get(name)
            if b is not None:
                points.append({"time": at, **point(a or Note(), b, at - before)})
        return points


def point(before: Note, after: Note, seconds: float) -> dict[str, float | None]:
    """What happened between two notes. Totals that fell are those of a server that began anew."""
    if after.requests < before.requests:
        before = Note()
    requests = after.requests - before.requests
    taken = {bound: count - before.buckets.get(bound, 0.0) for bound, count in sorted(after.buckets.items())}
    judged = after.right + after.wrong - before.right - before.wrong
    return {
        "requests": requests / seconds,
        "errors": (after.errors - before.errors) / requests if requests else None,
        "refused": (after.refused - before.refused) / requests if requests else None,
        "tokens": (after.tokens - before.tokens) / seconds,
        "accuracy": (after.right - before.right) / judged if judged else None,
        **{name: quantile(taken, share) for name, share in QUANTILES.items()},
        **{name: after.now.get(name) for name in (*GAUGES, "drift")},
        **(_found(before, after) if after.looked else {}),
    }


def _found(before: Note, after: Note) -> dict[str, float | None]:
    """Of an index: what was found between two notes, and how old it is, in days."""
    searches, scored = after.searches - before.searches, after.scored - before.scored
    taken = {bound: count - before.looked.get(bound, 0.0) for bound, count in sorted(after.looked.items())}
    return {
        "empty": (after.empty - before.empty) / searches if searches else None,
        "irrelevant": (after.irrelevant - before.irrelevant) / searches if searches else None,
        "score": (after.score - before.score) / scored if scored else None,
        **{f"search {name}": quantile(taken, share) for name, share in QUANTILES.items()},
        "age": (time.time() - after.now["built"]) / 86400 if "built" in after.now else None,
    }


def quantile(taken: dict[float, float], share: float) -> float | None:
    """Seconds that this share of requests stayed below, as Prometheus' histogram_quantile has it; None: no request."""
    bounds, counts = list(taken), list(taken.values())
    if not counts or not counts[-1]:
        return None
    place = bisect_left(counts, share * counts[-1])
    if bounds[place] == float("inf"):
        return bounds[place - 1] if place else None
    low, under = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0.0)
    return low + (bounds[place] - low) * (share * counts[-1] - under) / (counts[place] - under)


def read(found: Iterable[Any]) -> dict[str, Note]:
    """Prometheus' metric families → a note for each model; requests are those to /v1 and /v2 that are posted."""
    notes: dict[str, Note] = {}
    for family in found:
        for sample in family.samples:
            model = sample.labels.get("model")
            if model is not None and sample.name.startswith("metroline_"):
                _add(notes.setdefault(model, Note()), sample.name, sample.labels, float(sample.value))
    return notes


def _add(note: Note, name: str, labels: dict[str, str], value: float) -> None:
    match name:
        case "metroline_requests_total" if labels["route"].startswith(("/v1/", "/v2/")):
            note.requests += value
            note.errors += value * (labels["status"] >= "500")
            note.refused += value * ("400" <= labels["status"] < "500")
        case "metroline_request_seconds_bucket":
            bound = float(labels["le"])
            note.buckets[bound] = note.buckets.get(bound, 0.0) + value
        case "metroline_tokens_out_total" | "metroline_adapter_tokens_out_total":
            note.tokens += value
        case "metroline_feedback_total":
            note.right += value * (labels["outcome"] == "right")
            note.wrong += value * (labels["outcome"] == "wrong")
        case "metroline_search_seconds_bucket":
            bound = float(labels["le"])
            note.looked[bound] = note.looked.get(bound, 0.0) + value
        case "metroline_search_seconds_count":
            note.searches += value
        case "metroline_search_empty_total":
            note.empty += value
        case "metroline_irrelevant_total":
            note.irrelevant += value
        case "metroline_search_score_sum" if labels["mode"] != "text":
            note.score += value
        case "metroline_search_score_count" if labels["mode"] != "text":
            note.scored += value
        case "metroline_index_built_timestamp_seconds":
            note.now["built"] = value
        case "metroline_drift_psi" | "metroline_drift_score":
            note.now["drift"] = max(note.now.get("drift", 0.0), value)
        case _:
            for gauge, series in GAUGES.items():
                if name == series:
                    note.now[gauge] = note.now.get(gauge, 0.0) + value


def families() -> Iterable[Any]:
    """What /metrics shows: of all workers, where they share a folder."""
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY.collect()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry.collect()
