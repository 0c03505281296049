"""API keys and rate limits: of a running server, and of the parts."""

import json
import stat
import subprocess
import sys
import threading
import time

import httpx
import openai
import pytest

from base.errors import MetrolineError
from serving.app.run import ROOT, start
from serving.http.keys import KeyRing, digest, main
from serving.http.limits import Buckets
from tests.serving import clients

BODY = {"prompt": "the", "max_tokens": 4, "ignore_eos": True}


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return KeyRing(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def key(ring):
    return ring.add("alice")


@pytest.fixture(scope="module")
def guarded(bundle, ring, key, serve):
    return serve(bundle, keys=str(ring.path))


@pytest.fixture
def client(guarded):
    with clients.http(guarded) as made:
        yield made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_with_its_key(guarded, key):
    official = clients.official(guarded, key)
    assert official.completions.create(model="tiny", prompt="a", max_tokens=2).usage.prompt_tokens == 1
    assert official.models.list().data[0].id == "tiny"


@pytest.mark.parametrize("headers", [
    {}, bearer("wrong"), {"Authorization": "Bearer"}, {"Authorization": "alice"}, {"Authorization": "Basic YTpi"},
    {"Authorization": b"Bearer \xff\xfe"},
])  # fmt: skip
def test_without_a_key_that_is_known(client, headers):
    for method, path in (("POST", "/v1/completions"), ("POST", "/v1/chat/completions"), ("POST", "/v1/embeddings"),
                         ("POST", "/v1/rerank"), ("POST", "/v1/search"), ("POST", "/v1/feedback"),
                         ("GET", "/status.json"), ("GET", "/v1/models"),
                         ("GET", "/v1/models/tiny"), ("GET", "/v1/nothing")):  # fmt: skip
        answer = client.request(method, path, headers=headers, json=BODY if method == "POST" else None)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]


def test_openai_client_says_so(guarded):
    official = clients.official(guarded, "wrong")
    with pytest.raises(openai.AuthenticationError):
        official.models.list()


def test_what_needs_no_key(client):
    for path in ("/", "/web/style.css", "/card", "/readyz", "/livez", "/metrics", "/openapi.json", "/status"):
        assert client.get(path).status_code == 200


def test_a_change_is_seen_at_once(client, ring, guarded):
    bob = ring.add("bob")
    assert client.get("/v1/models", headers=bearer(bob)).status_code == 200
    ring.remove("bob")
    assert client.get("/v1/models", headers=bearer(bob)).status_code == 401


def test_the_line_may_ask(client, guarded):
    assert client.get("/v1/models", headers=bearer(guarded.key)).status_code == 200


def test_keys_are_nowhere_in_the_clear(client, ring, key, guarded):
    client.post("/v1/completions", json=BODY, headers=bearer(key))
    time.sleep(0.2)
    log = guarded.log.read_text()
    assert key not in log + ring.path.read_text()
    assert any(json.loads(line).get("caller") == "alice" for line in log.splitlines())
    assert digest(key) in ring.path.read_text()
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600


def test_a_damaged_key_file_lets_nobody_in(bundle, serve, tmp_path):
    (tmp_path / "keys.json").write_text("{")
    server = serve(bundle, keys=str(tmp_path / "keys.json"))
    assert httpx.get(f"{server.url}/v1/models", headers=bearer("x"), trust_env=False).status_code == 401
    assert "cannot be read" in server.log.read_text()


def test_requests_and_tokens_a_minute(bundle, serve, tmp_path):
    ring = KeyRing(tmp_path / "keys.json")
    few, small, free = ring.add("few", 3), ring.add("small", None, 30), ring.add("free", 0, 0)
    server = serve(bundle, keys=str(ring.path), requests_per_minute="2")
    with clients.http(server) as client:

        def post(key: str, **more) -> httpx.Response:
            return client.post("/v1/completions", json=BODY | more, headers=bearer(key))

        answers = [post(few) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
        assert answers[0].headers["x-ratelimit-remaining-requests"] == "2"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert client.get("/v1/models", headers=bearer(few)).status_code == 200  # looking costs nothing
        assert {post(free).status_code for _ in range(9)} == {200}
        # "the" is one token, and 4 are generated
        assert post(small, max_tokens=30).json()["error"]["code"] == "tokens_over_limit"
        assert post(small, max_tokens=25).status_code == 200  # 26 of 30 tokens
        refused = post(small, max_tokens=25)  # that was its second request, this is the third
        assert refused.status_code == 429
        text = client.get("/metrics").text
        assert 'metroline_rejected_total{model="tiny",reason="rate_limit"' in text


def test_unused_tokens_are_given_back(bundle, serve, tmp_path):
    ring = KeyRing(tmp_path / "keys.json")
    key = ring.add("small", 0, 220)
    server = serve(bundle, keys=str(ring.path))
    for _ in range(6):  # of 201 tokens each may take, each takes a few
        body = {"prompt": "the", "max_tokens": 200, "logit_bias": {"0": 100}, "temperature": 0}  # 0: the end
        answer = httpx.post(f"{server.url}/v1/completions", json=body, headers=bearer(key), trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] < 3


def test_limits_hold_for_all_workers_together(bundle, serve):
    server = serve(bundle, workers=2, requests_per_minute="10")
    statuses: list[int] = []

    def ask() -> None:
        for _ in range(6):  # a connection each: the workers share them out
            statuses.append(httpx.post(f"{server.url}/v1/completions", json=BODY, trust_env=False).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) in range(10, 13)  # the bucket fills by one each 6 s
    assert set(statuses) == {200, 429}


def test_buckets_fill_again(tmp_path):
    first, second = Buckets(tmp_path / "b"), Buckets(tmp_path / "b")
    assert first.take(0, 600, 600) == 0
    assert second.take(0, 100, 600) == 10
    assert second.take(1, 5, 5) == 0  # another bucket
    time.sleep(0.3)
    assert second.take(0, 2, 600) == 0  # ten a second
    first.give(0, 1000, 600)
    assert second.left(0, 600) == 600


def test_other_machines_are_not_let_in_without_a_word(bundle, tmp_path):
    environment = {"BENTOML_HOME": str(tmp_path)}
    with pytest.raises(MetrolineError, match=r"0\.0\.0\.0 is open to other machines.*metroline keys add"):
        start(bundle, host="0.0.0.0", port=0, environment=environment)
    with start(bundle, host="0.0.0.0", port=0, environment=environment | {"METROLINE_AUTH": "off"}, tied=True) as open_:
        open_.wait_ready()


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("METROLINE_KEYS", str(tmp_path / "deep" / "keys.json"))
    assert main(["add", "alice", "--tokens-per-minute", "5000"]) == 0
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert key.startswith("mk-")
    assert len(key) > 40
    assert "only time" in shown.err
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "alice" in listed
    assert "5,000 tokens" in listed
    assert key not in listed
    for wrong, message in ((["add", "alice"], "already"), (["add", "a b"], "no name"), (["remove", "bob"], "alice")):
        assert main(wrong) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["remove", "alice"]) == 0
    assert json.loads((tmp_path / "deep" / "keys.json").read_text()) == {"keys": []}


def test_the_module_runs(tmp_path):
    environment = {"PATH": "", "METROLINE_KEYS": str(tmp_path / "k.json")}
    command = [sys.executable, "-m", "serving.http.keys", "add", "x", "--tokens-per-minute", "-1"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "whole number" in ended.stderr
