"""A submitted request, and how its events get from the engine's thread to the event loop.

    async with engine.submit(request) as stream:
        async for event in stream: ...

It knows no model.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal

from serving.engines.decode.sequence import DoneEvent, ErrorEvent, Event, Request
from serving.http.errors import ApiError, deadline_passed

Cause = Literal["client", "deadline", "drain", "failed"]


class Stream:
    """A submitted request: an asynchronous iterator of its events. Leave its context to cancel what is left."""

    def __init__(self, request: Request, seconds: float) -> None:
        """`seconds`: after that it is ended with a 504."""
        self.request = request
        self.choices = len(request.prompts) * request.n
        self.submitted = time.monotonic()
        self.started: float | None = None
        self.first_token: float | None = None
        self.cause: Cause | None = None  # why it was ended early
        self.next_choice = 0  # the next one to begin
        self.completed = 0  # choices that are complete
        self.loop = asyncio.get_running_loop()
        self.heard: Callable[[Event], None] | None = None
        """Hears all events too."""
        self._finished = False
        self._events: deque[Event] = deque()
        self._arrival: asyncio.Future[None] | None = None  # somebody waits for the next event
        self._timer = self.loop.call_later(seconds, self._expire, seconds)

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:  # fmt: skip
        self._timer.cancel()
        if not self._finished:
            self.cause = self.cause or "client"

    @property
    def cancelled(self) -> bool:
        """Nobody wants more of it."""
        return self.cause is not None

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises ApiError when the request fails."""
        while not self._events:
            self._arrival = self.loop.create_future()
            await self._arrival
        event = self._events.popleft()
        if isinstance(event, ErrorEvent):
            raise event.error
        if isinstance(event, DoneEvent):
            raise StopAsyncIteration
        return event

    def end(self, cause: Cause, error: ApiError) -> None:
        """End it early, with an error for whoever still listens. Only from the event loop's thread."""
        self.cause = self.cause or cause
        self.put(ErrorEvent(error))

    def put(self, event: Event) -> None:
        """Hand over an event; after a DoneEvent or ErrorEvent nothing more. Only from the event loop's thread."""
        if not self._finished:
            self._finished = isinstance(event, DoneEvent | ErrorEvent)
            if self.heard:
                self.heard(event)
            self._events.append(event)
            arrival, self._arrival = self._arrival, None
            if arrival and not arrival.done():
                arrival.set_result(None)

    def _expire(self, seconds: float) -> None:
        self.end("deadline", deadline_passed(seconds))


class Outbox:
    """Events on their way to the event loop, handed over together: waking the loop costs more than an event."""

    def __init__(self) -> None:
        self._events: list[tuple[Stream, Event]] = []

    def put(self, stream: Stream, event: Event) -> None:
        """Keep an event until `flush`."""
        self._events.append((stream, event))

    def flush(self) -> None:
        """Hand over what was put in, in order. From any one thread."""
        events, self._events = self._events, []
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Stream, Event]]] = {}
        for stream, event in events:
            loops.setdefault(stream.loop, []).append((stream, event))
        for loop, batch in loops.items():
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:  # the event loop is closed: nobody listens any more
                for stream, _ in batch:
                    stream.cause = stream.cause or "client"


def _deliver(batch: list[tuple[Stream, Event]]) -> None:
    for stream, event in batch:
        stream.put(event)
