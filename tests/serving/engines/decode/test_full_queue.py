"""A full queue, seen from outside: a 429 before the body is read, after the key is checked, and at no one's cost."""

import json
import socket
import time

import httpx
import pytest

from serving.http.keys import KeyRing
from tests.serving import chat_bundle, clients

LONG = {"prompt": "a", "max_tokens": 8000, "temperature": 0, "stream": True}


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return KeyRing(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def headers(ring):
    return {"Authorization": f"Bearer {ring.add('alice', 4)}"}


@pytest.fixture(scope="module")
def full(tmp_path_factory, serve, ring, headers):
    """Room for one, which somebody has."""
    folder = chat_bundle.build(tmp_path_factory.mktemp("full") / "b", context=8192, max_tokens=8000, delay_nodes=8)
    server = serve(folder, slots="1", queue="0", keys=str(ring.path))
    wanted = {"Authorization": f"Bearer {server.key}"}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG, headers=wanted, trust_env=False) as running:
        lines = running.iter_lines()
        next(lines)
        yield server


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_it_is_said_before_the_body_comes(full, headers):
    host, port = full.url.removeprefix("http://").split(":")
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"{head}Authorization: {headers['Authorization']}\r\n\r\n".encode())
        assert connection.recv(20).startswith(b"HTTP/1.1 429")


def test_strangers_are_not_told(full):
    with clients.http(full) as client:
        assert client.post("/v1/completions", json=LONG).status_code == 401


def test_it_takes_nothing_off_a_keys_limit_and_is_counted(full, headers):
    before = clients.metric(full, "metroline_rejected_total", reason="queue_full")
    with clients.http(full) as client:
        bodies = {
            "/v1/completions": LONG,
            "/v1/chat/completions": {"no": "matter what"},
            "/v1/embeddings": {"input": "a"},
        }
        for path, body in 6 * [*bodies.items()]:
            refused(client.post(path, json=body, headers=headers))
        assert client.get("/v1/models", headers=headers).status_code == 200
    assert clients.metric(full, "metroline_rejected_total", reason="queue_full") == before + 18
    time.sleep(0.1)
    lines = [json.loads(line) for line in full.log.read_text().splitlines() if '"queue_full"' in line]
    assert all(line["status"] == 429 and line["seconds"] < 1 for line in lines)


def test_room_in_another_model_lets_a_request_through(tmp_path, serve):
    slow = chat_bundle.build(tmp_path / "slow", "slow", context=8192, max_tokens=8000, delay_nodes=8)
    server = serve(slow, chat_bundle.build(tmp_path / "free"), slots="1", queue="0")
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG, trust_env=False) as running:
        lines = running.iter_lines()
        next(lines)
        with clients.http(server) as client:
            refused(client.post("/v1/completions", json=LONG))
            body = {"model": "talker", "prompt": "a", "max_tokens": 3, "temperature": 0}
            answer = client.post("/v1/completions", json=body)
            assert answer.json()["choices"][0]["text"] == chat_bundle.said(1, 3)
