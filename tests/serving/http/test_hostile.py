"""Requests made to hurt: each gets a 4xx at once, none is logged as our failure, and the next one is answered."""

import json
import socket
import time
import unicodedata

import httpx
import pytest

from serving.engines.decode.text import MOST_MARKS, too_many_marks
from serving.http.errors import ApiError
from serving.routes.schema import GenerationRequest, parse
from tests.serving import chat_bundle

DIGITS = b"1" + b"0" * 4200
MARKS = "\u0315\u0300"
"""Two combining marks in the order in which Unicode does not keep them: normalizing n of these takes n² steps."""

BODIES = {
    "more choices than can be counted": (b'{"prompt": ["a", "b"], "n": 9' + DIGITS + b"}", "n", "less than or equal"),
    "endless max_tokens": (b'{"prompt": "a", "max_tokens": ' + DIGITS + b"}", "max_tokens", "less than or equal"),
    "endless best_of": (b'{"prompt": "a", "best_of": ' + DIGITS + b"}", "best_of", "less than or equal"),
    "endless top_k": (b'{"prompt": "a", "top_k": ' + DIGITS + b"}", "top_k", "less than or equal"),
    "endless token": (b'{"prompt": [' + DIGITS + b"]}", "prompt", "between 0 and"),
    "an integer beyond floats": (b'{"prompt": "a", "temperature": ' + DIGITS + b"}", "temperature", "be a number"),
    "a bias beyond floats": (b'{"prompt": "a", "logit_bias": {"5": 1e400}}', "logit_bias", "from -100 to 100"),
    "a bias that is no number": (b'{"prompt": "a", "logit_bias": {"5": NaN}}', None, "NaN is not JSON"),
    "a name twice": (b'{"prompt": "a", "max_tokens": 1, "prompt": "b"}', None, "'prompt' is there twice"),
    "a name twice within": (b'{"prompt": "a", "logit_bias": {"5": 1, "5": 2}}', None, "'5' is there twice"),
    "a seed beyond 64 bits": (b'{"prompt": "a", "seed": -9223372036854775809}', "seed", "greater than or equal"),
    "many prompts": (json.dumps({"prompt": ["a"] * 200_000}).encode(), "n", "not 200000"),
    "many prompts of tokens": (json.dumps({"prompt": [[1]] * 150_000}).encode(), "n", "not 150000"),
    "marks without end": (json.dumps({"prompt": MARKS * 200_000}, ensure_ascii=False).encode(), "prompt", "marks"),
}  # fmt: skip

CHATS = {
    "marks without end": MARKS * 200_000,
    "marks in parts": [{"type": "text", "text": MARKS * 10}] * 8_000,
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory, serve):
    folder = chat_bundle.build(tmp_path_factory.mktemp("hostile") / "bundle", context=8192, max_tokens=8000)
    return serve(folder, deadline="30", body_seconds="5")


@pytest.fixture(autouse=True)
def unharmed(victim):
    """Whatever a test did: no 5xx was counted, nothing is still running, and the next request is answered."""
    yield
    body = {"prompt": "a", "max_tokens": 2, "temperature": 0}
    answer = httpx.post(f"{victim.url}/v1/completions", json=body, timeout=20, trust_env=False)
    assert answer.json()["choices"][0]["text"] == chat_bundle.said(1, 2)
    deadline = time.monotonic() + 15
    while sum(value(victim, name) for name in ("active_streams", "queued_requests", "kv_tokens_used")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert value(victim, "requests_total", 'status="5') == 0
    assert '"level": "error"' not in victim.log.read_text()


def value(server, name: str, label: str = "") -> float:
    """The sum of a metric's samples with a label that begins so."""
    lines = httpx.get(f"{server.url}/metrics", timeout=20, trust_env=False).text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"metroline_{name}{{") and label in line
    )


def send(server, path: str, raw: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"{server.url}{path}", content=raw, headers=headers, timeout=20, trust_env=False)


@pytest.mark.parametrize("case", BODIES)
def test_a_hostile_body(victim, case):
    raw, param, message = BODIES[case]
    answer = send(victim, "/v1/completions", raw)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert message in error["message"]
    assert len(answer.content) < 1000  # it does not repeat what was sent


@pytest.mark.parametrize("case", CHATS)
def test_a_hostile_chat(victim, case):
    body = {"messages": [{"role": "user", "content": CHATS[case]}], "max_tokens": 1}
    answer = send(victim, "/v1/chat/completions", json.dumps(body, ensure_ascii=False).encode())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
    assert "combining marks" in answer.json()["error"]["message"]


def test_a_message_that_looks_like_what_stands_for_a_special_token(victim):
    for content in ("\ufdd0" + "9" * 5000 + "\ufdd1", "\ufdd0000\ufdd1", "\ufdd0999999\ufdd1"):
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
        assert send(victim, "/v1/chat/completions", json.dumps(body).encode()).status_code in (200, 400)


@pytest.mark.parametrize("seed", [-1, -(1 << 63), (1 << 63) - 1])
def test_a_negative_or_large_seed_is_a_seed(victim, seed):
    body = json.dumps({"prompt": "a", "max_tokens": 20, "temperature": 2, "seed": seed, "n": 2}).encode()
    first, again = (send(victim, "/v1/completions", body).json()["choices"] for _ in range(2))
    assert first == again


def connect(server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def post(body: dict) -> bytes:
    raw = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n"
    )
    return head.encode() + b"\r\n" + raw


LONG = {"prompt": "a", "max_tokens": 8000, "temperature": 0}


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(victim):
    for end in (b"", b"zz\r\n"):  # it hangs up; what it sends is no chunk
        with connect(victim) as connection:
            framing = b"Transfer-Encoding: chunked\r\n" if end else b"Content-Length: 999\r\n"
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                               + framing + b"\r\n" + end)  # fmt: skip
            time.sleep(0.2)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_closes_its_side_is_gone(victim, stream):
    before = value(victim, "cancelled_total")
    with connect(victim) as connection:
        connection.sendall(post(LONG | {"stream": stream}))
        deadline = time.monotonic() + 10
        while not value(victim, "active_streams"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        connection.shutdown(socket.SHUT_WR)
        while value(victim, "cancelled_total") == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("raw", [
    b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /card/%00.png HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /card?model=%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /web/.. HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /web/%2e%2e/service.py HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v1/../metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(1000)),
])  # fmt: skip
def test_what_is_hardly_http(victim, raw):
    with connect(victim) as connection:
        try:
            connection.sendall(raw)
        except ConnectionError:
            return  # it is not read to its end
        assert connection.recv(20).startswith(b"HTTP/1.1 4")


def test_marks_in_a_row():
    assert too_many_marks("e\u0301" * 1000) is None  # each on a letter of its own
    for before in range(MOST_MARKS + 2):
        assert too_many_marks("a" * before + "\u0301" * MOST_MARKS + "a") is None
        assert too_many_marks("a" * before + "\u0301" * (MOST_MARKS + 1)) == before + MOST_MARKS
    words = "नमस्ते दुनिया, xin chào các bạn, שָׁלוֹם עֲלֵיכֶם 한국어 "
    assert too_many_marks(unicodedata.normalize("NFD", words) * 100) is None


def test_names_twice_are_found_at_any_depth():
    with pytest.raises(ApiError, match="'a' is there twice"):
        parse(b'{"stream_options": {"x": [{"a": 1, "b": 2, "a": 1}]}}', GenerationRequest)
