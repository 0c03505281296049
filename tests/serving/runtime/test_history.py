"""Totals → an hour of rates, quantiles as Prometheus computes them, and one model beside another."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.runtime import history
from serving.runtime.history import History, Note, point, quantile, read

INF = float("inf")


def test_rates_between_two_notes():
    before = Note(100, 2, 10, 50, right=3, wrong=1, buckets={0.1: 80, 1.0: 90, INF: 90}, now={"queued": 9})
    after = Note(
        120, 6, 15, 90, right=6, wrong=2, buckets={0.1: 85, 1.0: 100, INF: 100}, now={"queued": 2, "drift": 0.3}
    )
    assert point(before, after, 10) == {
        "requests": 2, "errors": 0.2, "refused": 0.25, "tokens": 4, "accuracy": 0.75, "p50": 0.1, "p99": 0.982,
        "queued": 2, "active": None, "drift": 0.3,
    }  # fmt: skip
    idle = point(after, after, 10)
    assert [idle[name] for name in ("requests", "errors", "p50", "accuracy")] == [0, None, None, None]
    assert point(after, before, 10)["requests"] == 10  # the server began anew


@pytest.mark.parametrize(
    ("taken", "share", "seconds"),
    [
        ({}, 0.5, None),
        ({0.1: 0, INF: 0}, 0.5, None),
        ({0.1: 10, INF: 10}, 0.5, 0.05),
        ({0.1: 0, 0.3: 10, INF: 10}, 0.5, 0.2),
        ({0.1: 1, INF: 10}, 0.99, 0.1),
        ({INF: 10}, 0.5, None),
    ],
)
def test_quantiles(taken, share, seconds):
    assert quantile(taken, share) == (None if seconds is None else pytest.approx(seconds))


@pytest.fixture
def registry():
    made = CollectorRegistry()
    labels = {"model": "a", "version": "1"}
    requests = Counter("metroline_requests_total", "", ["model", "version", "route", "status"], registry=made)
    for route, status, count in (("/v1/models/{model}/predict", "200", 7), ("/v1/completions", "503", 2),
                                 ("/v2/models/{model}/infer", "429", 1), ("/", "200", 50)):  # fmt: skip
        requests.labels(**labels, route=route, status=status).inc(count)
    requests.labels(model="b", version="1", route="/v1/completions", status="200").inc(4)
    Gauge("metroline_queued_requests", "", list(labels), registry=made).labels(**labels).set(3)
    drift = Gauge("metroline_drift_psi", "", [*labels, "feature"], registry=made)
    for feature, score in (("x", 0.1), ("y", 0.4)):
        drift.labels(**labels, feature=feature).set(score)
    Histogram("metroline_request_seconds", "", list(labels), buckets=(0.1, 1), registry=made).labels(**labels).observe(
        0.5
    )
    Counter("metroline_feedback_total", "", [*labels, "outcome"], registry=made).labels(**labels, outcome="right").inc()
    return made


def test_reads_what_prometheus_would(registry):
    found = read(registry.collect())
    assert found["a"] == Note(10, 2, 1, 0, right=1, buckets={0.1: 0, 1.0: 1, INF: 1}, now={"queued": 3, "drift": 0.4})
    assert found["b"].requests == 4


def test_what_an_index_finds(monkeypatch):
    made = CollectorRegistry()
    labels = {"model": "papers", "version": "1"}
    seconds = Histogram("metroline_search_seconds", "", [*labels, "mode"], buckets=(0.1, 1), registry=made)
    scores = Histogram("metroline_search_score", "", [*labels, "mode"], buckets=(0.5, 1), registry=made)
    for mode, score in (("hybrid", 0.9), ("reranked", 0.5), ("text", 17.0), ("text", None)):
        seconds.labels(**labels, mode=mode).observe(0.05)
        if score is not None:
            scores.labels(**labels, mode=mode).observe(score)
    Counter("metroline_search_empty_total", "", [*labels, "mode"], registry=made).labels(**labels, mode="text").inc()
    Counter("metroline_irrelevant_total", "", list(labels), registry=made).labels(**labels).inc(2)
    Gauge("metroline_index_built_timestamp_seconds", "", list(labels), registry=made).labels(**labels).set(86400)
    monkeypatch.setattr(history.time, "time", lambda: 3 * 86400.0)
    found = point(Note(), read(made.collect())["papers"], 10)
    assert (found["empty"], found["irrelevant"], found["age"]) == (0.25, 0.5, 2)
    assert found["score"] == pytest.approx(0.7)  # BM25 has no bound
    assert found["search p50"] == pytest.approx(0.05)
    idle = point(read(made.collect())["papers"], read(made.collect())["papers"], 10)
    assert [idle[name] for name in ("empty", "score", "search p50", "age")] == [None, None, None, 2]


def test_an_hour_and_no_more(registry, monkeypatch):
    kept, clock = History(10), iter(range(0, 100_000, 10))
    for _ in range(400):
        kept.notes.append((next(clock), read(registry.collect())))
    series = kept.series("ab")
    assert set(series["models"]) == {"a", "b"}
    assert set(kept.series(["a", "c"])["models"]) == {"a"}
    assert len(series["models"]["a"]) == 360
    assert series["models"]["a"][-1]["time"] == 3990
    assert series["every"] == history.EVERY
