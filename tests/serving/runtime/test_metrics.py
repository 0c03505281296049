"""What the engine reports, as Prometheus sees it: labelled by model and version, and added up over workers."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from serving.bundle import Bundle
from serving.runtime.metrics import STEP_SECONDS, Metrics, drop_dead_workers, observe_all

REPORT = """
metrics.capacity(16, 4096)
metrics.running(3, 700)
metrics.queued(2)
metrics.active(1)
metrics.prefix(0)
metrics.prefix(64)
metrics.speculated(8, 5)
metrics.restarted()
metrics.started(0.2, 40)
metrics.first_token(0.5)
metrics.steps([], [None])
metrics.steps([1, 16, 16], [0.012])
metrics.cancelled()
metrics.rejected("queue_full")
"""

EXPECTED = {
    "slots": 16, "kv_tokens_capacity": 4096, "running_sequences": 3, "kv_tokens_used": 700, "queued_requests": 2,
    "active_streams": 1, "batch_size_count": 3, "batch_size_sum": 33, "prefix_lookups_total": 2,
    "prefix_hits_total": 1, "prefix_tokens_total": 64, "speculated_tokens_total": 8, "speculated_accepted_total": 5,
    "engine_restarts_total": 1, "tokens_in_total": 40, "tokens_out_total": 2, "time_to_first_token_seconds_count": 1,
    "time_per_token_seconds_count": 1, "time_per_token_seconds_sum": 0.012, "cancelled_total": 1,
    "queue_seconds_sum": 0.2,
}  # fmt: skip

WORKER = f"""
import sys
from pathlib import Path
from serving.bundle import Bundle
from serving.runtime.metrics import Metrics
metrics = Metrics(Bundle.load(Path(sys.argv[1]), "fp32"))
{REPORT}
print("done", flush=True)
sys.stdin.read()
"""


def value(registry: CollectorRegistry, name: str, loaded: Bundle, **more: str) -> float | None:
    labels = {"model": loaded.name, "version": loaded.version} | more
    return registry.get_sample_value(f"metroline_{name}", labels)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_reported_is_shown(bundle, name):
    registry, loaded = CollectorRegistry(), Bundle.load(bundle, "fp32")
    exec(REPORT, {"metrics": Metrics(loaded, registry)})
    assert value(registry, name, loaded) == pytest.approx(EXPECTED[name])


def test_reasons_and_batches_have_series(bundle):
    registry, loaded = CollectorRegistry(), Bundle.load(bundle, "fp32")
    exec(REPORT, {"metrics": Metrics(loaded, registry)})
    assert value(registry, "rejected_total", loaded, reason="queue_full") == 1
    assert value(registry, "rejected_total", loaded, reason="deadline") == 0
    assert value(registry, "batch_size_bucket", loaded, le="12.0") == 1
    assert value(registry, "batch_size_bucket", loaded, le="16.0") == 3


@pytest.mark.parametrize("values", [[], [0.001], [0.001, 0.0041, 0.01, 0.0101, 3.0, 0.01]])
def test_many_values_are_observed_as_one_by_one(values):
    registries = [CollectorRegistry(), CollectorRegistry()]
    together, apart = (Histogram("seconds", "", buckets=STEP_SECONDS, registry=each) for each in registries)
    observe_all(together, values)
    for value in values:
        apart.observe(value)
    shown = [
        {(sample.name, *sample.labels.values()): sample.value for family in each.collect() for sample in family.samples}
        for each in registries
    ]
    for each in shown:
        del each["seconds_created",]
    assert shown[0] == pytest.approx(shown[1])


def test_two_models_are_told_apart(bundle, scripted):
    registry = CollectorRegistry()
    both = [Bundle.load(folder, "fp32") for folder in (bundle, scripted)]
    made = [Metrics(each, registry) for each in both]
    made[0].running(2, 20)
    made[1].running(5, 50)
    assert [value(registry, "kv_tokens_used", each) for each in both] == [20, 50]


def test_two_workers_add_up(bundle, tmp_path):
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(bundle)], env=environment, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout.readline() == "done\n"
        registry, loaded = CollectorRegistry(), Bundle.load(bundle, "fp32")
        MultiProcessCollector(registry, path=str(tmp_path))
        for name, each in EXPECTED.items():
            assert value(registry, name, loaded) == pytest.approx(2 * each), name
    finally:
        for worker in workers:
            worker.communicate("")


def test_gauges_of_dead_workers_are_removed_by_all_new_ones_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    own = tmp_path / f"gauge_livemax_{os.getpid()}.db"
    own.touch()
    for number in range(200):  # as many as it takes for two to meet at one
        (tmp_path / f"gauge_livesum_{10**8 + number}.db").touch()
    (tmp_path / f"gauge_livemax_{ended.pid}.db").touch()
    with ThreadPoolExecutor(4) as new:
        for each in [new.submit(drop_dead_workers) for _ in range(4)]:
            each.result()
    assert list(tmp_path.iterdir()) == [own]


def test_no_file_of_metrics_begins_while_requests_run(bundle, serve):
    """A scrape would fail on one that is still empty."""
    server = serve(bundle)
    begun = set(server.folder.glob("*.db*"))
    assert len(begun) == 6
    assert all(path.stat().st_size for path in begun)
    answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "a", "max_tokens": 2}, trust_env=False)
    assert answer.status_code == 200
    assert set(server.folder.glob("*.db*")) == begun
