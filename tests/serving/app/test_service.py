"""The service as processes: coming up, telling the truth about it, overload, going down, changing the model."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import serving.app.run
from base.processes import free_port
from serving.app.run import Server
from tests.serving import tiny_bundle

LONG = {"prompt": "x", "max_tokens": 1000, "temperature": 0}

METRICS = {
    "metroline_requests": {"model", "version", "route", "status"},
    "metroline_rejected": {"model", "version", "reason"},
    "metroline_queue_seconds": {"model", "version"},
    "metroline_time_to_first_token_seconds": {"model", "version"},
    "metroline_time_per_token_seconds": {"model", "version"},
    "metroline_request_seconds": {"model", "version"},
    "metroline_prompt_loss": {"model", "version"},
    "metroline_tokens_in": {"model", "version"},
    "metroline_tokens_out": {"model", "version"},
    "metroline_cancelled": {"model", "version"},
    "metroline_active_streams": {"model", "version"},
    "metroline_queued_requests": {"model", "version"},
    "metroline_drift_score": {"model", "version"},
    "metroline_model_loaded_timestamp_seconds": {"model", "version"},
    "metroline_model_info": {"model", "version", "data_hash", "precision"},
}


def get(server: Server, path: str, **values) -> httpx.Response:
    return httpx.get(server.url + path, timeout=10, trust_env=False, **values)


def post(server: Server, body: dict, **values) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/completions", json=body, **{"timeout": 20, "trust_env": False} | values)


def metrics(server: Server) -> dict:
    return {family.name: family for family in text_string_to_metric_families(get(server, "/metrics").text)}


def value(server: Server, name: str) -> float:
    return sum(sample.value for sample in metrics(server)[name].samples if not sample.name.endswith("_created"))


def until(condition, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def open_streams(server: Server, count: int) -> list[tuple[httpx.Client, httpx.Response]]:
    """`count` long streams, each with its first bytes read or waiting in the queue."""
    opened = []
    for _ in range(count):
        client = httpx.Client(timeout=30, trust_env=False)
        wanted = client.build_request("POST", f"{server.url}/v1/completions", json=LONG | {"stream": True})
        opened.append((client, client.send(wanted, stream=True)))
    return opened


def test_all_metrics_have_their_names_and_labels(server):
    post(server, {"prompt": "the people of the united states", "max_tokens": 4})
    families = metrics(server)
    for name, labels in METRICS.items():
        assert name in families, name
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == labels, name
    info = families["metroline_model_info"].samples
    assert [(sample.value, sample.labels["precision"], sample.labels["data_hash"]) for sample in info] == [
        (1.0, "int8", "d" * 64)
    ]
    age = time.time() - value(server, "metroline_model_loaded_timestamp_seconds")
    assert 0 <= age < 86400  # seconds; other tests had the server before


def test_ready_only_when_the_model_is_loaded(bundle, serve, tmp_path):
    """Loading is held up until a file appears; the server is alive before, and ready after."""
    go = tmp_path / "go"
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery, pathlib, sys, time\n"
        "class Wait:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name != 'serving.engines.decode.graph':\n"
        "            return None\n"
        "        spec = importlib.machinery.PathFinder.find_spec(name, path)\n"
        "        execute = spec.loader.exec_module\n"
        "        def wait(module):\n"
        f"            while not pathlib.Path({str(go)!r}).exists():\n"
        "                time.sleep(0.02)\n"
        "            execute(module)\n"
        "        spec.loader.exec_module = wait\n"
        "        return spec\n"
        "sys.meta_path.insert(0, Wait())\n"
    )
    server = serve(bundle, ready=False, pythonpath=str(tmp_path))

    def answers() -> bool:
        try:
            return get(server, "/livez").status_code == 200
        except httpx.HTTPError:
            return False

    until(answers, 30)
    assert get(server, "/readyz").status_code == 503
    waiting: list[int] = []
    thread = threading.Thread(target=lambda: waiting.append(post(server, {"prompt": "a"}).status_code))
    thread.start()
    time.sleep(0.3)
    assert not waiting
    go.touch()
    thread.join(20)
    assert waiting == [200]  # it waited instead of failing
    assert get(server, "/readyz").status_code == 200


def test_full_queue_and_deadline(scripted, serve):
    server = serve(scripted, queue="100", deadline="1.5", prompts="64")  # two of these requests want 128 completions
    many = LONG | {"n": 64}
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(post(server, many).status_code)) for _ in range(2)]
    threads[0].start()
    until(lambda: value(server, "metroline_active_streams") == 1)
    threads[1].start()
    until(lambda: value(server, "metroline_queued_requests") == 1 or value(server, "metroline_active_streams") == 2)
    answers = [post(server, LONG) for _ in range(3)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert refused[0].json()["error"]["code"] == "queue_full"
    for thread in threads:
        thread.join(20)
    assert results == [504, 504]
    until(lambda: value(server, "metroline_active_streams") == 0)
    rejected = {sample.labels["reason"]: sample.value for sample in metrics(server)["metroline_rejected"].samples}
    assert rejected["deadline"] >= 2
    assert rejected["queue_full"] == len(refused)
    assert post(server, {"prompt": "a", "max_tokens": 3}).status_code == 200


def test_sigterm_lets_streams_finish_and_turns_new_requests_away(scripted, serve):
    server = serve(scripted)
    ((client, stream),) = open_streams(server, 1)
    lines = stream.iter_lines()
    next(lines)
    server.process.terminate()
    seen: list[int] = []

    def turned_away() -> bool:
        answer = post(server, {"prompt": "a"})
        seen.append(answer.status_code)
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "server_draining"
            assert answer.headers["retry-after"]
            assert get(server, "/readyz").status_code == 503
            assert get(server, "/livez").status_code == 200
        return answer.status_code == 503

    until(turned_away, 5)
    assert set(seen) <= {200, 503}
    events = [line for line in lines if line]
    assert events[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in events[-2]
    client.close()
    assert server.process.wait(10) == 0


def test_the_drain_is_bounded(scripted, serve):
    server = serve(scripted, drain="0.5")
    body = LONG | {"stream": True, "n": 16}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=20, trust_env=False) as stream:
        lines = stream.iter_lines()
        next(lines)
        started = time.monotonic()
        server.process.terminate()
        events = [line for line in lines if line]
    assert "server_draining" in events[-1]
    assert server.process.wait(10) == 0
    assert time.monotonic() - started < 6


def test_a_client_that_does_not_read_cannot_hold_the_server(scripted, serve):
    server = serve(scripted, drain="0.5")
    ((client, stream),) = open_streams(server, 1)
    next(stream.iter_raw(1))
    started = time.monotonic()
    server.process.terminate()
    server.process.wait(15)
    assert time.monotonic() - started < 10
    client.close()


def test_reload_changes_the_model_and_loses_no_request(tmp_path, serve):
    """SIGHUP replaces the worker, while requests keep coming."""
    live = tmp_path / "bundle"
    first = json.loads((tiny_bundle.build(live, seed=1) / "manifest.json").read_text())["version"]
    server = serve(live)
    results: list[tuple[int, str]] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            answer = post(server, {"prompt": "the", "max_tokens": 4})
            results.append((answer.status_code, answer.json().get("system_fingerprint", answer.text)))

    threads = [threading.Thread(target=keep_asking) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(results) > 5)
    shutil.rmtree(live)
    second = json.loads((tiny_bundle.build(live, seed=2) / "manifest.json").read_text())["version"]
    server.reload()
    until(lambda: results[-1][1] == f"fp_{second}", 20)
    time.sleep(0.5)
    done.set()
    for thread in threads:
        thread.join(20)
    assert [each for each in results if each[0] != 200] == []
    assert {version for _, version in results} == {f"fp_{first}", f"fp_{second}"}
    until(lambda: {s.labels["version"] for s in metrics(server)["metroline_model_info"].samples} == {second})


def test_two_workers_answer_and_count_together(bundle, serve):
    server = serve(bundle, workers=2)
    until(lambda: {answer.status_code for answer in (get(server, "/readyz") for _ in range(8))} == {200})
    for _ in range(12):
        assert post(server, {"prompt": "the", "max_tokens": 2, "ignore_eos": True}).status_code == 200
    families = metrics(server)
    counts = {
        sample.name.removeprefix("metroline_"): sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name.startswith("metroline_") and "le" not in sample.labels and len(sample.labels) == 2
    }
    assert (counts["tokens_out_total"], counts["tokens_in_total"]) == (24, 12)
    assert counts["time_to_first_token_seconds_count"] == counts["request_seconds_count"] == 12
    assert counts["time_per_token_seconds_count"] == counts["batch_size_sum"] == 12  # of each answer the second token
    assert (counts["slots"], counts["kv_tokens_capacity"]) == (32, 2048)  # of two workers, 16 × 64 each
    assert (counts["active_streams"], counts["queued_requests"], counts["kv_tokens_used"]) == (0, 0, 0)
    assert len(families["metroline_model_info"].samples) == 1
    assert server.stop() == 0


@pytest.mark.parametrize("damage", ["changed", "flipped", "missing"])
def test_a_damaged_bundle_is_refused_before_any_worker(bundle, tmp_path, damage):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    if damage == "changed":
        (copy / "model.int8.onnx").write_bytes(b"something else")
    elif damage == "flipped":  # one bit in the middle of the file
        raw = bytearray((copy / "model.int8.onnx").read_bytes())
        raw[len(raw) // 2] ^= 1
        (copy / "model.int8.onnx").write_bytes(raw)
    else:
        shutil.rmtree(copy)
    environment = os.environ | {"METROLINE_BUNDLES": str(copy), "BENTOML_HOME": str(tmp_path), **serving.app.run.QUIET}
    port = str(free_port("127.0.0.1", 0))
    command = [sys.executable, "-m", "bentoml", "serve", "serving.app.service:Metroline", "--port", port]
    ended = subprocess.run(
        command, env=environment, cwd=serving.app.run.ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if line.startswith("metroline: ")]
    assert len(lines) == 1
    assert ("no bundle at" if damage == "missing" else "model.int8.onnx is not the file that was exported") in lines[0]
    assert "Traceback" not in ended.stderr
