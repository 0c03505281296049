"""Reading a body: what is over the limit is not kept, what is endless is not read to its end."""

import asyncio
import gzip
import tracemalloc

import pytest
from fastapi import Request

from serving.http.body import DISCARD, read_body
from serving.http.errors import ApiError
from serving.http.stream import ClientGoneError

LIMIT, CHUNK = 1 << 16, 1 << 15


class Client:
    """Sends chunks; `kind`: its content type."""

    def __init__(self, chunks: int, kind: str = "application/json", leaves: bool = False) -> None:
        self.left, self.leaves, self.sent = chunks, leaves, 0
        self._scope = {"type": "http", "headers": [(b"content-type", kind.encode())]}

    async def receive(self) -> dict:
        if self.leaves and self.left == 1:
            return {"type": "http.disconnect"}
        self.left -= 1
        self.sent += CHUNK
        return {"type": "http.request", "body": b" " * CHUNK, "more_body": self.left > 0}

    def read(self, seconds: float = 10.0) -> bytes:
        async def main() -> bytes:
            return await read_body(Request(self._scope, self.receive), LIMIT, seconds)

        return asyncio.run(main())


def test_as_much_as_is_allowed():
    assert Client(LIMIT // CHUNK).read() == b" " * LIMIT


def test_what_is_over_the_limit_is_dropped_as_it_comes():
    """Ten megabytes are read, so that the client gets to read why, but no more than the limit is ever held."""
    client = Client((10 << 20) // CHUNK)
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            client.read()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.status == 413
    assert client.sent == 10 << 20


def test_no_more_is_made_of_a_compressed_body_than_is_allowed():
    bomb = gzip.compress(b" " * (50 << 20))
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]

    async def receive() -> dict:
        return {"type": "http.request", "body": bomb}

    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            asyncio.run(read_body(Request({"type": "http", "headers": headers}, receive), LIMIT, 10))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(bomb) < LIMIT
    assert caught.value.status == 413


def test_a_body_without_end_is_not_read_to_its_end():
    client = Client(1 << 60)
    with pytest.raises(ApiError, match="over the limit"):
        client.read()
    assert client.sent <= DISCARD + CHUNK


def test_a_client_that_leaves():
    with pytest.raises(ClientGoneError):
        Client(2, leaves=True).read()


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonp", "multipart/form-data; boundary=json"])
def test_what_is_not_json_is_not_read(kind):
    client = Client(1, kind)
    with pytest.raises(ApiError) as caught:
        client.read()
    assert (caught.value.status, client.sent) == (415, 0)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"])
def test_what_is_json(kind):
    assert len(Client(1, kind).read()) == CHUNK
