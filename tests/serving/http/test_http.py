"""What HTTP allows beside plain GET and POST: HEAD, absolute addresses, compressed bodies, waiting, staying open."""

import gzip
import json
import socket
import time
import zlib
from http.client import HTTPResponse

import httpx
import pytest

from tests.serving import clients

BODY = json.dumps({"prompt": "the", "max_tokens": 3, "temperature": 0, "ignore_eos": True}).encode()
GETS = ["/", "/web/style.css", "/web/playground.js", "/v1/models", "/v1/models/tiny", "/card", "/openapi.json",
        "/livez", "/readyz", "/metrics", "/v1/models/nobody", "/nothing"]  # fmt: skip
MOVING = {"date", "x-request-id", "content-length"}


@pytest.fixture
def client(server):
    with clients.http(server) as made:
        yield made


@pytest.fixture(scope="module")
def locked(bundle, serve):
    """It asks for a key, and there is none."""
    return serve(bundle, auth="on")


def connect(server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /v1/completions HTTP/1.1", "Host: x", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers, "", ""]  # fmt: skip
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("path", GETS)
def test_head_says_what_get_says_and_sends_nothing(client, path):
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert {**head.headers, **dict.fromkeys(MOVING, "")} == {**get.headers, **dict.fromkeys(MOVING, "")}
    if path != "/metrics":  # it counts
        assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


def test_head_on_a_connection_that_goes_on(server):
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            head = HTTPResponse(connection, method="HEAD")
            head.begin()
            assert head.status == 200
        connection.sendall(b"GET /v1/models/tiny HTTP/1.1\r\nHost: x\r\n\r\n")
        assert json.loads(answer(connection)[1])["id"] == "tiny"


def test_what_has_no_get_has_no_head(client):
    assert client.head("/v1/completions").status_code == 405
    assert client.head("/v1/completions").headers["allow"] == "POST"
    assert client.post("/v1/models").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(("target", "status", "part"), [
    ("http://x/v1/models/tiny", 200, b'"id":"tiny"'), ("HTTPS://y.example:444/v1/models/tiny?a=b", 200, b'"id":"tiny"'),
    ("http://x", 200, b"<!doctype html>"), ("http://x?prompt=a", 200, b"<!doctype html>"),
    ("http://x/readyz", 200, b""), ("http://x/metrics", 200, b"metroline_requests_total"),
    ("http://x/nothing", 404, b"GET /nothing"),
    ("/v1/models/http://x/v1/models", 404, b"Unknown address"), ("ftp://x/", 404, b"Unknown address"),
])  # fmt: skip
def test_an_absolute_address(server, target, status, part):
    """As a client sends it that takes the endpoint for its proxy; servers must understand it (RFC 9112, 3.2.2)."""
    with connect(server) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got, body = answer(connection)
    assert got == status
    assert part in body


def test_an_absolute_address_gets_in_with_a_key_only(locked):
    with connect(locked) as connection:
        connection.sendall(b"GET http://x/v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[0] == 401


def squeezed(coding: str, body: bytes) -> bytes:
    """A compressed body, as zlib's manual names the formats."""
    window = {"gzip": 31, "deflate": 15, "raw": -15}[coding]
    squeeze = zlib.compressobj(wbits=window)
    return squeeze.compress(body) + squeeze.flush()


@pytest.mark.parametrize(("name", "coding"), [
    ("gzip", "gzip"), ("x-gzip", "gzip"), ("GZIP", "gzip"), ("deflate", "deflate"), ("deflate", "raw"),
    ("identity", None), ("", None),
])  # fmt: skip
def test_a_compressed_body(client, name, coding):
    headers = {"Content-Type": "application/json", "Content-Encoding": name}
    content = squeezed(coding, BODY) if coding else BODY
    plain = client.post("/v1/completions", content=BODY, headers={"Content-Type": "application/json"}).json()
    got = client.post("/v1/completions", content=content, headers=headers)
    assert got.status_code == 200, got.text
    assert got.json()["choices"] == plain["choices"]


DAMAGED = {
    "not gzip": ("gzip", BODY, 400, "not what its Content-Encoding says"),
    "not deflate": ("deflate", b"\xff" * 50, 400, "not what its Content-Encoding says"),
    "empty": ("deflate", b"", 400, "cut short"),
    "cut short": ("gzip", gzip.compress(BODY)[:-9], 400, "cut short"),
    "wrong sum": ("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8, 400, "not what its Content-Encoding says"),
    "more behind it": ("gzip", gzip.compress(BODY) + b"x", 400, "longer than"),
    "a bomb": ("gzip", gzip.compress(b" " * (50 << 20)), 413, "over the limit of 1048576 bytes"),
    "a small bomb": ("deflate", zlib.compress(b" " * ((1 << 20) + 1)), 413, "over the limit"),
    "large as it comes": ("gzip", b"\0" * (2 << 20), 413, "over the limit"),
    "brotli": ("br", BODY, 415, "Send gzip, deflate, or the body as it is"),
    "zstandard": ("zstd", BODY, 415, "'zstd'"),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415, "'gzip, gzip'"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_body_that_is_compressed_wrongly(client, case):
    coding, content, status, message = DAMAGED[case]
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    got = client.post("/v1/completions", content=content, headers=headers)
    assert (got.status_code, message in got.json()["error"]["message"]) == (status, True), got.text
    assert got.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)


def test_as_much_as_is_allowed_may_come_compressed(client):
    body = BODY + b" " * ((1 << 20) - len(BODY))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post("/v1/completions", content=gzip.compress(body), headers=headers).status_code == 200


@pytest.mark.parametrize("accepted", ["gzip, deflate, br, zstd", "identity;q=0", "*;q=0", "", "nonsense;;q=x"])
@pytest.mark.parametrize("stream", [False, True])
def test_answers_come_as_they_are_whatever_a_client_accepts(client, accepted, stream):
    """A stream's events must not wait in a compressor."""
    body = {**json.loads(BODY), "stream": stream}
    got = client.post("/v1/completions", json=body, headers={"Accept-Encoding": accepted})
    assert got.status_code == 200
    assert "content-encoding" not in got.headers


def test_a_client_that_waits_to_be_told_to_go_on(server):
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(post(BODY, "Expect: 100-continue"))
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(BODY)
            status, body = answer(connection)
            assert (status, json.loads(body)["usage"]["completion_tokens"]) == (200, 3)


def test_a_client_that_waits_is_told_no_before_it_sends(locked):
    with connect(locked) as connection:
        connection.sendall(post(BODY, "Expect: 100-continue"))
        status, body = answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")


def test_a_connection_stays_open_for_as_long_as_is_set(bundle, serve):
    server = serve(bundle, keep_alive="2")
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[0] == 200
        started = time.monotonic()
        assert connection.recv(1) == b""
        assert 1.8 < time.monotonic() - started < 4.5


def test_a_connection_stays_open_longer_than_proxies_keep_theirs(server):
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[0] == 200
        time.sleep(6)  # uvicorn's own default is 5 s
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[0] == 200


def test_a_server_that_goes_down_does_not_wait_for_open_connections(bundle, serve):
    server = serve(bundle)
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{server.url}/livez").status_code == 200
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 15
