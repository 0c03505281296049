"""The field `timeout`: a request may want to be stopped earlier than the server would stop it."""

import json
import time

import httpx
import openai
import pytest

from tests.serving import chat_bundle

HELLO = [{"role": "user", "content": "hello"}]
LONG = {"max_tokens": 8000, "temperature": 0}


@pytest.fixture(scope="module")
def slow(tmp_path_factory, serve):
    folder = tmp_path_factory.mktemp("timeout") / "bundle"
    return serve(chat_bundle.build(folder, context=8192, max_tokens=8000, delay_nodes=8), deadline="4", slots="1")


@pytest.fixture(scope="module")
def client(slow):
    with httpx.Client(base_url=slow.url, timeout=20, trust_env=False) as made:
        yield made


def requests() -> list[tuple[str, dict]]:
    return [("/v1/completions", {"prompt": "a"} | LONG), ("/v1/chat/completions", {"messages": HELLO} | LONG)]


@pytest.mark.parametrize(("path", "body"), requests())
def test_it_ends_with_504(client, path, body):
    answer = client.post(path, json=body | {"timeout": 0.3})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (504, "timeout", "deadline_exceeded")
    assert "within 0.3 s" in error["message"]
    deadline = time.monotonic() + 10
    while 'metroline_active_streams{model="talker"' not in (text := client.get("/metrics").text) or (
        any(line.startswith("metroline_active_streams{") and not line.endswith(" 0.0") for line in text.splitlines())
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("path", "body"), requests())
def test_a_stream_that_has_begun_ends_with_an_error(client, path, body):
    with client.stream("POST", path, json=body | {"timeout": 0.5, "stream": True}) as answer:
        assert answer.status_code == 200
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert events[-1]["error"]["code"] == "deadline_exceeded"  # and no [DONE], which is no JSON
    shown = "".join(
        e["choices"][0].get("text") or e["choices"][0].get("delta", {}).get("content", "") for e in events[:-1]
    )
    assert shown
    assert chat_bundle.said(1 if "prompt" in body else 24, 8000).startswith(shown)


def test_waiting_counts(client):
    with client.stream("POST", "/v1/completions", json={"prompt": "a", "stream": True} | LONG) as running:
        lines = running.iter_lines()
        next(lines)  # it has the only slot
        answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1, "timeout": 0.3})
        assert answer.status_code == 504


def test_it_is_no_longer_than_the_servers_own(client):
    answer = client.post("/v1/completions", json={"prompt": "a", "timeout": 1e300} | LONG)
    assert (answer.status_code, "within 4 s" in answer.json()["error"]["message"]) == (504, True)


def test_enough_time_changes_nothing(slow):
    official = openai.OpenAI(base_url=f"{slow.url}/v1", api_key="none", max_retries=0)
    answer = official.completions.create(
        model="talker", prompt="a", max_tokens=9, temperature=0, extra_body={"timeout": 4}
    )
    assert answer.choices[0].text == chat_bundle.said(1, 9)


@pytest.mark.parametrize(("value", "message"), [
    ("0", "greater than 0"), ("-1", "greater than 0"), ("-1e-9", "greater than 0"), ('"5"', "must be a number"),
    ("true", "must be a number"), ("[5]", "must be a number"), ("1e999", "finite"), ("NaN", "NaN is not JSON"),
    ("1" + "0" * 400, "must be a number"),
])  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_what_is_no_time(client, path, value, message):
    start = '{"prompt": "a"' if path == "/v1/completions" else f'{{"messages": {json.dumps(HELLO)}'
    raw = f'{start}, "timeout": {value}}}'
    answer = client.post(path, content=raw, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == (None if value == "NaN" else "timeout")
    assert message in error["message"]


def test_it_is_described(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("CompletionRequest", "ChatRequest"):
        (number, _) = schemas[name]["properties"]["timeout"]["anyOf"]
        assert number == {"type": "number", "exclusiveMinimum": 0.0}
