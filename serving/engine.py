"""The engine: requests in, events out, one thread that runs the model.

    async with engine.submit(request) as stream:
        async for event in stream: ...

One stream at a time: the choices of all waiting requests take turns, so that a request for many completions holds up
nobody for longer than one of them. To batch streams instead, replace `_answer_one`; `Request`, the events, `Sequence`
and everything around stay. It knows neither HTTP nor BentoML.

A completion may run past the model's context: then the model sees the last half of
the text again and goes on from there.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from types import TracebackType
from typing import Literal

import numpy as np

from serving.drift import SHORTEST, Drift, prompt_loss
from serving.errors import ApiError, deadline_passed, internal, queue_full, unavailable
from serving.graph import Graph
from serving.metrics import EngineMetrics
from serving.sequence import DoneEvent, ErrorEvent, Event, Request, Score, Sequence, score
from serving.text import Vocabulary

log = logging.getLogger("metroline.engine")


Cause = Literal["client", "deadline", "drain"]


class Stream:
    """A submitted request: an asynchronous iterator of its events. Leave its context to cancel what is left."""

    def __init__(self, request: Request, seconds: float) -> None:
        self.request = request
        self.submitted = time.monotonic()
        self.started: float | None = None
        self.first_token: float | None = None
        self.cause: Cause | None = None  # why it was ended early
        self.choice = 0  # the next one to generate
        self._finished = False
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._expire, seconds)

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
        event = await self._events.get()
        if isinstance(event, ErrorEvent):
            raise event.error
        if isinstance(event, DoneEvent):
            raise StopAsyncIteration
        return event

    def emit(self, event: Event) -> None:
        """Hand over an event from another thread. After a DoneEvent or ErrorEvent nothing more is handed over."""
        try:
            self._loop.call_soon_threadsafe(self._put, event)
        except RuntimeError:  # the event loop is closed: nobody listens any more
            self.cause = self.cause or "client"

    def end(self, cause: Cause, error: ApiError) -> None:
        """End it early, with an error for whoever still listens. Only from the event loop's thread."""
        self.cause = self.cause or cause
        self._put(ErrorEvent(error))

    def _put(self, event: Event) -> None:
        if not self._finished:
            self._finished = isinstance(event, DoneEvent | ErrorEvent)
            self._events.put_nowait(event)

    def _expire(self, seconds: float) -> None:
        self.end("deadline", deadline_passed(seconds))


class Engine:
    """Runs requests on one graph. `submit` is for the event loop's thread; the rest is done in the engine's own."""

    def __init__(
        self, graph: Graph, vocabulary: Vocabulary, eos: int, metrics: EngineMetrics, drift: Drift,
        *, queue: int = 64, deadline: float = 120.0,
    ) -> None:  # fmt: skip
        """`queue`: requests that may wait; `deadline`: seconds that a request may take, waiting included."""
        self._graph, self._vocabulary, self._eos = graph, vocabulary, eos
        self._metrics, self._drift, self._deadline, self._queue = metrics, drift, deadline, queue
        self._waiting: deque[Stream] = deque()
        self._active: set[Stream] = set()
        self._changed = threading.Condition()
        self._ended = False
        self._seconds = 1.0  # rolling mean of a request's own time, for Retry-After
        self._prefilled: tuple[Stream, int, np.ndarray] | None = None  # whose prompt the cache begins with
        self._thread = threading.Thread(target=self._run, name="metroline-engine", daemon=True)
        self.generated = 0
        """Tokens generated since the start."""

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """The engine's thread runs."""
        return self._thread.is_alive()

    @property
    def idle(self) -> bool:
        """Nothing is waiting or being generated."""
        return not self._waiting and not self._active

    def submit(self, request: Request) -> Stream:
        """Queue a request. Raises ApiError: 429 when the queue is full, 503 after `abort`."""
        with self._changed:
            if self._ended:
                raise unavailable("draining")
            queued = self._queued()
            if queued >= self._queue + (not self._active):  # one of them goes straight to an idle engine
                raise queue_full(queued, max(1, min(60, round(self._seconds * (queued + 1)))))
            stream = Stream(request, self._deadline)
            self._waiting.append(stream)
            self._report()
            self._changed.notify()
        return stream

    def abort(self) -> None:
        """End all streams at once, with an error that says why, and take no new ones."""
        self._ended = True
        with self._changed:
            for stream in {*self._waiting, *self._active}:
                stream.end("drain", unavailable("draining"))

    def _queued(self) -> int:
        return sum(stream.started is None and not stream.cancelled for stream in self._waiting)

    def _report(self) -> None:
        self._metrics.queued(self._queued())
        self._metrics.active(len(self._active))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                stream = self._waiting.popleft()
                if stream.started is None:
                    stream.started = time.monotonic()
                    self._active.add(stream)
                self._report()
            if stream.choice == 0 and not stream.cancelled:
                tokens = sum(map(len, stream.request.prompts))
                self._metrics.started(stream.started - stream.submitted, tokens)
            more = False
            try:
                more = not stream.cancelled and self._answer_one(stream)
            except ApiError as error:
                stream.emit(ErrorEvent(error))
            except Exception:
                log.exception("a request failed", extra={"fields": {"request_id": stream.request.id}})
                stream.emit(ErrorEvent(internal(stream.request.id)))
            with self._changed:
                if more:
                    self._waiting.append(stream)  # behind the others: they take turns
                else:
                    self._finish(stream)
                self._report()
            if not more:
                stream.emit(DoneEvent())  # last: whoever sees the end sees the metrics of it

    def _finish(self, stream: Stream) -> None:
        self._active.discard(stream)
        if self._prefilled and self._prefilled[0] is stream:
            self._prefilled = None
        complete = stream.choice == len(stream.request.prompts) * stream.request.n
        if complete and stream.started is not None:
            self._seconds += 0.2 * (time.monotonic() - stream.started - self._seconds)
        elif stream.cause == "client":
            self._metrics.cancelled()

    def _answer_one(self, stream: Stream) -> bool:
        """Generate the stream's next choice. Returns whether it has more; a cancelled one is left where it is."""
        request = stream.request
        prompt = request.prompts[stream.choice // request.n]
        sequence = Sequence(request, stream.choice, self._vocabulary, self._eos)
        logits = self._prefill(stream, sequence, prompt)
        if logits is None:
            return False
        position, last = len(prompt), None
        while not sequence.done:
            if stream.cancelled:
                return False
            event = sequence.push(logits)
            now = time.monotonic()
            if stream.first_token is None:
                stream.first_token = now
                self._metrics.first_token(now - stream.submitted)
            self._metrics.token(None if last is None else now - last)
            self.generated += 1
            last = now
            stream.emit(event)
            if sequence.done:
                break
            if position < self._graph.context:
                logits = self._graph.decode(event.token, position)
                position += 1
            else:  # the context is full: start again from its last half
                recent = [*prompt, *sequence.tokens][-max(1, self._graph.context // 2) :]
                self._prefilled = None
                for chunk in self._graph.prefill(recent):
                    logits = chunk[-1]
                position = len(recent)
        stream.emit(sequence.finish())
        stream.choice += 1
        return stream.choice < len(request.prompts) * request.n

    def _prefill(self, stream: Stream, sequence: Sequence, prompt: tuple[int, ...]) -> np.ndarray | None:
        """Put the prompt into the cache. Returns the logits [V] after it; None: the stream was cancelled."""
        request, number = stream.request, stream.choice // stream.request.n
        wanted = request.echo and request.logprobs is not None
        if self._prefilled and self._prefilled[:2] == (stream, number) and not wanted:
            for event in sequence.echo(prompt, []) if request.echo else []:
                stream.emit(event)
            return self._prefilled[2]
        self._prefilled = None
        scores: list[Score] = []
        loss, scored, start = 0.0, 0, 0
        logits = None
        for chunk in self._graph.prefill(list(prompt)):
            if stream.cancelled:
                return None
            targets = prompt[start + 1 : start + 1 + len(chunk)]
            if wanted:
                scores += score(chunk[: len(targets)], targets, request.logprobs or 0)
            first = targets[: max(0, self._drift.tokens - 1 - start)]
            if first:
                loss += prompt_loss(chunk[: len(first)], first)
                scored += len(first)
            start += len(chunk)
            logits = chunk[-1]
        assert logits is not None
        self._prefilled = (stream, number, logits)  # as long as nothing else is prefilled
        if stream.choice % request.n == 0 and scored + 1 >= SHORTEST:
            self._drift.add(loss / scored)
            self._metrics.prompt(loss / scored, self._drift.score)
        for event in sequence.echo(prompt, scores) if request.echo else []:
            stream.emit(event)
        return logits
