"""Reads a request's body, with bounds on its size, also when it was compressed, and on the time that it takes."""

import asyncio
import zlib

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving.http.errors import ApiError, invalid, too_large
from serving.http.stream import ClientGoneError

CODINGS = {"identity": 0, "gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How a body may be compressed → zlib's name for it."""
DISCARD = 64 << 20
"""Bytes of an over-large body that are read and dropped, so that its client gets to read the 413."""


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The request's JSON body. Raises ApiError, as `read_bytes` does, and 415 for what does not say that it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # Also a guard: a web page of another site can post text, but not JSON, without being asked for permission.
        raise ApiError(415, "Send JSON, with Content-Type: application/json.", code="unsupported_media_type")
    return await read_bytes(request, limit, seconds)


async def read_bytes(request: Request, limit: int, seconds: float) -> bytes:
    """The request's body, as it was before a client compressed it.

    Raises ApiError: 413 over `limit` bytes, 415 compressed otherwise than by `CODINGS`, 400 damaged, 408 too slow;
    ClientGoneError.
    """
    coding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if coding not in CODINGS:
        message = f"Content-Encoding {coding[:100]!r} is not read here. Send gzip, deflate, or the body as it is."
        raise ApiError(415, message, code="unsupported_encoding", headers={"Accept-Encoding": "gzip, deflate"})
    length = request.headers.get("content-length", "0")
    announced = int(length) if length.isdecimal() else 0
    if announced > limit and request.headers.get("expect", "").lower() == "100-continue":
        raise too_large(limit)
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    body.clear()
                    if size > DISCARD:
                        break
                else:
                    body += chunk
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {seconds:g} s.", code="request_timeout") from None
    except ClientDisconnect:
        raise ClientGoneError from None
    if size > limit:
        raise too_large(limit)
    return bytes(body) if coding == "identity" else _inflated(bytes(body), coding, limit)


def _inflated(body: bytes, coding: str, limit: int) -> bytes:
    """What was compressed. No more than `limit` bytes are ever made of it."""
    window = CODINGS[coding]
    if coding == "deflate" and not (body[:1] and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0):
        window = -zlib.MAX_WBITS  # some clients leave out zlib's frame, which the name stands for
    inflate = zlib.decompressobj(window)
    try:
        made = inflate.decompress(body, limit + 1)
    except zlib.error:
        raise invalid(f"The body is not what its Content-Encoding says, {coding}.") from None
    if len(made) > limit:
        raise too_large(limit)
    if not inflate.eof or inflate.unused_data:
        raise invalid(f"The body is cut short, or longer than its Content-Encoding says, {coding}.")
    return made
