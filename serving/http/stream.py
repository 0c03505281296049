"""Answers that end when their client goes away: server-sent events, and work that is watched for a disconnect.

Nothing here knows what is sent.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html, with OpenAI's closing `data: [DONE]`.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.http.errors import ApiError, internal

log = logging.getLogger("metroline.stream")

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """The client closed its connection before the answer was complete."""


_json: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(value: dict[str, Any]) -> bytes:
    """One server-sent event with a JSON object."""
    return b"data: " + _json(value).encode() + b"\n\n"


class TextEvents:
    """Events that differ in one text alone: the rest of their JSON is written once, not for every token."""

    _PLACE = uuid.uuid4().hex

    def __init__(self, example: Callable[[str], dict[str, Any]]) -> None:
        """`example`: the JSON object with some text in it."""
        self._before, self._after = event(example(self._PLACE)).split(_json(self._PLACE).encode())

    def __call__(self, text: str) -> bytes:
        """The event with this text."""
        return self._before + _json(text).encode() + self._after


DONE = b"data: [DONE]\n\n"


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`; when the client disconnects first, cancel it and raise ClientGoneError. The body must be read."""
    task, gone = asyncio.current_task(), False
    assert task is not None

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGoneError from None
    finally:
        watcher.cancel()


class EventStream(Response):
    """Sends events as they come. The first is awaited before the status is sent, so that an early error keeps its own.

    An ApiError after that becomes a last event, as OpenAI sends it, with no [DONE].
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events, or stop where the client goes away."""
        with suppress(ClientGoneError):
            await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        started = False
        try:
            async for data in self._events:
                if not started:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    started = True
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except ApiError as error:
            if not started:
                raise
            await send({"type": "http.response.body", "body": event(error.body()), "more_body": True})
        except Exception:
            if not started:
                raise
            log.exception("a stream failed")
            body = event(internal("the request's id").body())
            await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            close = getattr(self._events, "aclose", None)
            if close:
                await close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
