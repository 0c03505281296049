"""Reads a request's body, with bounds on its size and on the time that it takes."""

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving.http.errors import ApiError, too_large
from serving.http.stream import ClientGoneError

DISCARD = 64 << 20
"""Bytes of an over-large body that are read and dropped, so that its client gets to read the 413."""


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The request's body. Raises ApiError: 413 over `limit` bytes, 415 not JSON, 408 too slow; ClientGoneError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # Also a guard: a web page of another site can post text, but not JSON, without being asked for permission.
        raise ApiError(415, "Send JSON, with Content-Type: application/json.", code="unsupported_media_type")
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
    return bytes(body)
