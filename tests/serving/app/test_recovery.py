"""A worker that is killed, and streams that run while the server goes down."""

import json
import os
import signal
import threading
import time

import httpx
import psutil
import pytest

from serving.app.processes import LOOK
from serving.app.run import Server
from tests.serving import chat_bundle
from tests.serving.clients import metric

HELLO = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0}


def workers(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [each for each in children if "_bentoml_impl.worker.service" in " ".join(each.cmdline())]


def ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_killed_worker_is_back_within_ten_seconds(bundle, serve):
    server = serve(bundle)
    (worker,) = workers(server)
    os.kill(worker.pid, signal.SIGKILL)
    killed = time.monotonic()
    worker.wait(5)
    while not ready(server):
        assert time.monotonic() - killed < 10
        time.sleep(0.05)
    (fresh,) = workers(server)
    assert fresh.pid != worker.pid
    ends = [json.loads(line) for line in server.log.read_text().splitlines() if '"worker ended"' in line]
    assert [(end["pid"], end["signal"]) for end in ends] == [(worker.pid, "SIGKILL")]
    answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "a", "max_tokens": 2}, trust_env=False)
    assert answer.status_code == 200
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    assert sum(line.startswith("metroline_model_info{") for line in text.splitlines()) == 1


def test_the_supervisor_takes_commands_from_its_own_user_alone(bundle, serve):
    server = serve(bundle)
    supervisor = psutil.Process(server.process.pid)
    listening = {each.laddr.port for each in supervisor.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    assert listening == {int(server.url.rsplit(":", 1)[1])}
    sockets = [each for each in server.folder.glob("control-*/*") if each.is_socket()]
    assert {each.name for each in sockets} == {"commands", "events"}
    assert {each.parent.stat().st_mode & 0o777 for each in sockets} == {0o700}
    server.process.terminate()
    server.process.wait(30)
    assert not list(server.folder.glob("control-*"))


def test_a_reload_that_waits_for_a_stream_logs_no_error(scripted, serve):
    server = serve(scripted)
    (old,) = workers(server)
    body = {"prompt": "x", "max_tokens": 1000, "n": 4, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60, trust_env=False) as answer:
        lines = answer.iter_lines()
        next(lines)
        server.reload()
        began = time.monotonic()
        assert "data: [DONE]" in lines
    assert time.monotonic() - began > 2 * LOOK, "the supervisor looked at its workers meanwhile"
    old.wait(20)
    assert "Traceback" not in server.log.read_text()


def test_the_other_worker_answers_meanwhile(bundle, serve):
    server = serve(bundle, workers=2)
    while len(workers(server)) < 2:
        time.sleep(0.05)
    os.kill(workers(server)[0].pid, signal.SIGKILL)
    statuses = []
    for _ in range(20):
        answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "a", "max_tokens": 2}, trust_env=False)
        statuses.append(answer.status_code)
    assert statuses.count(200) == 20


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return chat_bundle.build(tmp_path_factory.mktemp("slow") / "bundle", context=512, max_tokens=400, delay_nodes=4)


def test_sigterm_under_load_loses_no_admitted_stream(slow, serve):
    """Chats in every state, running and queued; those that were let in are answered completely, others get 503."""
    server = serve(slow, slots="4", queue="16", drain="60")
    ended: list[tuple[int, str]] = []
    started = threading.Semaphore(0)

    def talk(tokens: int) -> None:
        body = HELLO | {"max_tokens": tokens, "stream": True}
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=60, trust_env=False) as answer:
            text, line = "", ""
            for line in filter(None, answer.iter_lines()):
                started.release()
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        text += choice["delta"].get("content", "")
            ended.append((tokens, text if line == "data: [DONE]" else f"cut off after {text!r}"))

    threads = [threading.Thread(target=talk, args=(120 + 5 * number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        started.acquire(timeout=30)

    def admitted() -> float:
        return sum(metric(server, f"metroline_{name}") for name in ("active_streams", "queued_requests"))

    deadline = time.monotonic() + 20
    while admitted() + len(ended) < 16 and time.monotonic() < deadline:
        time.sleep(0.02)
    server.process.terminate()
    while ready(server):  # one that asked before the worker knows would be let in, and end with the last one
        time.sleep(0.01)
    refused = httpx.post(f"{server.url}/v1/chat/completions", json=HELLO | {"max_tokens": 1}, timeout=30,
                         trust_env=False)  # fmt: skip
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 503
    for thread in threads:
        thread.join(60)
    assert sorted(ended) == [(120 + 5 * number, chat_bundle.said(24, 120 + 5 * number)) for number in range(16)]
    assert server.process.wait(20) == 0


BROKEN = """
import importlib.machinery, pathlib, sys
class Break:
    def find_spec(self, name, path=None, target=None):
        if name != "serving.engines.decode.graph":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def load(module):
            execute(module)
            graph, whole = module.Graph, {{}}
            for call in ("decode", "extend"):
                whole[call] = getattr(graph, call)
                def run(self, *arguments, call=call, **options):
                    if pathlib.Path({broken!r}).exists():
                        raise RuntimeError("broken by the test")
                    return whole[call](self, *arguments, **options)
                setattr(graph, call, run)
        spec.loader.exec_module = load
        return spec
sys.meta_path.insert(0, Break())
"""


def test_an_engine_that_fails_is_unready_until_it_runs_again(slow, serve, tmp_path):
    broken = tmp_path / "broken"
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(broken=str(broken)))
    server = serve(slow, pythonpath=str(tmp_path))
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=HELLO | {"stream": True}, timeout=30, trust_env=False) as answer:
        lines = filter(None, answer.iter_lines())
        next(lines)
        broken.touch()
        *_, last = lines
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error"  # and no [DONE]
    deadline = time.monotonic() + 10
    while ready(server):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert httpx.get(f"{server.url}/livez", trust_env=False).status_code == 200  # it tries by itself
    broken.unlink()
    while not ready(server):
        assert time.monotonic() < deadline + 10
        time.sleep(0.05)
    text = httpx.post(url, json=HELLO | {"max_tokens": 9}, timeout=30, trust_env=False).json()
    assert text["choices"][0]["message"]["content"] == chat_bundle.said(24, 9)
    assert metric(server, "metroline_engine_restarts_total") >= 1
    log = server.log.read_text()
    assert "the engine runs again" in log
    assert "broken by the test" not in log  # an exception's own words may quote a prompt
