"""Cuts off a client that does not take what it is sent, so that its unread answer does not stay in memory for ever.

A worker's socket buffers take some megabytes and the HTTP server some kilobytes more; then sending waits. Without an
end to that, a client that reads nothing would keep its events, its connection and its place among the running
requests. It knows no request and no answer; a client that reads slowly but steadily is left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from serving.http.stream import ClientGoneError

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

PIECE = 1 << 16
"""Bytes that are handed over at once: how far a client has read shows only between two of them."""


class _Answer:
    """One answer on its way."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.since: float | None = None
        """When the message that is being sent was begun."""
        self.late = False


class Patience:
    """Looks after the answers of one event loop. One timer for all: a timer for each token would cost too much."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: that one message may take to be sent."""
        self._seconds = seconds
        self._answers: set[_Answer] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[[Send], Awaitable[None]], send: Send) -> None:
        """Await `work` with a `send` that is watched. Raises ClientGoneError when the client was cut off."""
        answer, loop = _Answer(), asyncio.get_running_loop()

        async def watched(message: Message) -> None:
            for piece in _pieces(message) if len(message.get("body", b"")) > PIECE else (message,):
                answer.since = loop.time()
                await send(piece)
                answer.since = None

        self._answers.add(answer)
        if not self._timer:
            self._timer = loop.call_later(self._seconds / 4, self._look, loop)
        try:
            await work(watched)
        except asyncio.CancelledError:
            if not answer.late or answer.task is None:
                raise
            answer.task.uncancel()
            raise ClientGoneError from None
        finally:
            self._answers.discard(answer)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for answer in self._answers:
            late = answer.since is not None and now - answer.since > self._seconds
            if late and answer.task and not answer.late:
                answer.late = True
                answer.task.cancel()
        self._timer = loop.call_later(self._seconds / 4, self._look, loop) if self._answers else None


def _pieces(message: Message) -> list[Message]:
    """A long body as several messages."""
    body, more = message["body"], message.get("more_body", False)
    starts = range(0, len(body), PIECE)
    return [
        {**message, "body": body[start : start + PIECE], "more_body": more or start != starts[-1]} for start in starts
    ]
