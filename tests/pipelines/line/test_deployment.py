"""Deployment against a small endpoint that obeys or not: smoke request, rollback, what is said."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from base import manifest
from base.errors import MetrolineError
from base.files import write_json
from pipelines.release.live import deploy
from pipelines.release.smoke import smoke
from pipelines.release.store import Pointers, Store

ANSWER = {"choices": [{"text": " and", "finish_reason": "length"}], "usage": {"completion_tokens": 4}}


@dataclass
class Endpoint:
    """An HTTP server that serves one version and answers completions as it is told."""

    version: str
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)  # by version; default: 200 and ANSWER
    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """It serves version `old` until it is told otherwise."""
    state = Endpoint("old")

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.answer(200, {"id": "mini", "version": state.version})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            state.asked.append(state.version)
            self.answer(*state.answers.get(state.version, (200, ANSWER)))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(store_home: Path) -> Store:
    """`mini:new` is live, `mini:old` is previous; the old one is whole."""
    made = Store(store_home)
    for version in ("old", "new"):
        folder = made.folder(f"mini:{version}")
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(version)
        manifest.write(folder, {"name": "mini"})
    made.point("mini", Pointers(live="mini:new", previous="mini:old"))
    return made


def follow(endpoint: Endpoint, store: Store) -> Callable[[], None]:
    """A reload: the endpoint takes what is live."""

    def reload() -> None:
        endpoint.version = str(store.pointers("mini").live).split(":")[1]

    return reload


def test_a_release_that_answers_stays_live(endpoint: Endpoint, store: Store) -> None:
    assert deploy("mini", endpoint.url, reload=follow(endpoint, store), timeout=5) == "mini:new"
    assert store.pointers("mini") == Pointers(live="mini:new", previous="mini:old")
    assert endpoint.asked == ["new"]


def test_it_waits_for_an_endpoint_that_takes_the_release_by_itself(endpoint: Endpoint, store: Store) -> None:
    timer = threading.Timer(0.6, follow(endpoint, store))
    timer.start()
    assert deploy("mini", endpoint.url, timeout=10) == "mini:new"
    timer.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, {"error": "broken"}), "/v1/completions answers 500"),
        ((200, b"<html>"), "not what OpenAI's schema says"),
        ((200, {"choices": []}), "not what OpenAI's schema says"),
        ((200, {"choices": [{"text": None, "finish_reason": "stop"}]}), "a completion ends with 'stop'"),
        ((200, {"choices": [{"text": "x", "finish_reason": "error"}]}), "a completion ends with 'error'"),
    ],
)
def test_a_release_that_fails_is_rolled_back(
    endpoint: Endpoint, store: Store, answer: tuple[int, Any], message: str
) -> None:
    endpoint.answers["new"] = answer
    with pytest.raises(
        MetrolineError, match=f"mini:new does not serve: .*{message}.*rolled back, mini:old is live again"
    ):
        deploy("mini", endpoint.url, reload=follow(endpoint, store), timeout=0.5)
    assert store.pointers("mini") == Pointers(live="mini:old", previous="mini:new")
    assert endpoint.version == endpoint.asked[-1] == "old"


def test_an_endpoint_that_keeps_serving_the_old_version(endpoint: Endpoint, store: Store) -> None:
    with pytest.raises(MetrolineError, match=r"serves version old, not new; rolled back, mini:old is live again"):
        deploy("mini", endpoint.url, timeout=0.3)
    assert store.pointers("mini").live == "mini:old"


def test_an_endpoint_that_is_down(store: Store) -> None:
    with pytest.raises(
        MetrolineError, match=r"mini:old is live again, but does not serve either: http://127\.0\.0\.1:9"
    ):
        deploy("mini", "http://127.0.0.1:9", timeout=0.3)


def test_a_first_release_that_fails_has_nothing_to_go_back_to(endpoint: Endpoint, store: Store) -> None:
    store.point("mini", Pointers(live="mini:new", previous=None))
    endpoint.answers["new"] = (500, {})
    with pytest.raises(MetrolineError, match="there is no previous release to go back to"):
        deploy("mini", endpoint.url, reload=follow(endpoint, store), timeout=0.3)
    assert store.pointers("mini").live == "mini:new"


def test_another_release_meanwhile_is_left_alone(endpoint: Endpoint, store: Store) -> None:
    endpoint.answers["new"] = (500, {})

    def reload() -> None:
        endpoint.version = "new"
        write_json(store.home / "metroline/mini.json", {"live": "mini:newer", "previous": "mini:new"})

    with pytest.raises(MetrolineError, match="mini:newer is live now"):
        deploy("mini", endpoint.url, reload=reload, timeout=0.3)
    assert store.pointers("mini") == Pointers(live="mini:newer", previous="mini:new")


def test_nothing_released(store_home: Path) -> None:
    with pytest.raises(MetrolineError, match="nothing of mini is released"):
        deploy("mini", "http://127.0.0.1:9")


def test_smoke_is_content_with_an_answer(endpoint: Endpoint, tmp_path: Path) -> None:
    smoke(endpoint.url, "mini:old", 5, tmp_path)
