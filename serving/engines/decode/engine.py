"""The engine: requests in, events out, one thread that runs the model for all of them together.

    async with engine.submit(request) as stream:
        async for event in stream: ...

Continuous batching: in every step a chunk of one waiting prompt is put into the cache, and every running sequence gets
its next token from one call. Requests join and leave at every step. What a request gets does not depend on its
neighbours, to the last bit, as long as the graph works on each row by itself; only guessing (`speculative`) may differ.
A completion may run past the model's context: then the model sees the last half of the text again and goes on from
there. When a step fails as a whole, what was running is ended with an error, the cache is made empty, and the engine
goes on with what was waiting. Here are the thread and the way in; what a step does is `steps.py`. It knows neither
HTTP nor BentoML.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from serving.engines.decode.adapters import Bank
from serving.engines.decode.drift import Drift
from serving.engines.decode.exchange import DecodeExchange, Heard
from serving.engines.decode.grammar import Grammar, Grammars, Matcher
from serving.engines.decode.graph import Graph
from serving.engines.decode.metrics import EngineMetrics
from serving.engines.decode.outbox import Outbox, Stream
from serving.engines.decode.sequence import DoneEvent, ErrorEvent, Request
from serving.engines.decode.state import StateGraph
from serving.engines.decode.steps import Steps
from serving.engines.decode.text import Vocabulary
from serving.engines.exchange import AGAIN
from serving.http.errors import ApiError, internal, queue_full, unavailable

log = logging.getLogger("metroline.engine")

LONGEST_PAUSE = 5.0
"""Seconds between two attempts to start again, at most."""


class Engine(Steps):
    """Runs requests on one graph. `submit` is for the event loop's thread; the rest is done in the engine's own."""

    def __init__(
        self, graph: Graph | StateGraph, vocabulary: Vocabulary, eos: int | Iterable[int], metrics: EngineMetrics,
        drift: Drift,
        *, queue: int = 64, deadline: float = 120.0, chunk: int = 64, kv_tokens: int = 0, speculative: int = 0,
    ) -> None:  # fmt: skip
        """`deadline`: seconds that a request may take, waiting included; the others are those of `Steps`."""
        ends = (eos,) if isinstance(eos, int) else tuple(eos)
        super().__init__(
            graph,
            vocabulary,
            ends,
            metrics,
            drift,
            queue=queue,
            chunk=chunk,
            kv_tokens=kv_tokens,
            speculative=speculative,
        )
        self._deadline = deadline
        self._grammars = Grammars(vocabulary, ends)
        self._compiler = ThreadPoolExecutor(1, "metroline-grammar")
        self.vocabulary, self.context = vocabulary, graph.context
        self.exchanged: Callable[[DecodeExchange], None] | None = None
        self._ended = False
        self._healthy = True
        self._thread = threading.Thread(target=self._supervise, name="metroline-engine", daemon=True)

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """The engine's thread runs, or starts again after a failure."""
        return self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """It runs, and its last step did not fail as a whole."""
        return self._healthy and self.alive

    @property
    def idle(self) -> bool:
        """Nothing is waiting or being generated."""
        scheduler = self._scheduler
        return not scheduler.waiting and not scheduler.running and not scheduler.compiling

    @property
    def bank(self) -> Bank | None:
        """The weights of adapters; None: the graph has no room for any."""
        return self._graph.bank

    def submit(self, request: Request) -> Stream:
        """Queue a request. Raises ApiError: 429 when the queue is full, 503 after `abort`.

        A grammar that is wrong ends the stream with a 400.
        """
        scheduler = self._scheduler
        with self._changed:
            if self._ended:
                raise unavailable("draining")
            if refusal := self.refusal():
                raise refusal
            stream = Stream(request, min(self._deadline, request.deadline or self._deadline))
            own = request.id.endswith(AGAIN) or request.adapter.row  # another release has not the base's adapters
            if self.exchanged and not own:
                stream.heard = Heard(request, self.exchanged)
            if request.grammar:
                scheduler.compiling.add(stream)
                self._compiler.submit(self._compile, stream, request.grammar)
            else:
                scheduler.waiting.append(stream)
                self._changed.notify()
            self._report()
        return stream

    def refusal(self) -> ApiError | None:
        """The 429 that one more request would get now; None: it would be let in."""
        with self._changed:
            if not self._scheduler.full:
                return None
            line = self._scheduler.line
            wait = self._seconds * (line + 1) / self._slots.count
            return queue_full(line, max(1, min(60, round(wait))))

    def abort(self) -> None:
        """End all streams at once, with an error that says why, and take no new ones. From the event loop's thread."""
        self._ended = True
        with self._changed:
            for stream in {*self._scheduler.waiting, *(run.stream for run in self._scheduler.running)}:
                stream.end("drain", unavailable("draining"))

    def _compile(self, stream: Stream, grammar: Grammar) -> None:
        """In a thread of its own: a large grammar takes a second, in which the streams go on."""
        matcher: Matcher | None = None
        error = internal(stream.request.id)
        try:
            matcher = self._grammars.compile(grammar)
        except ApiError as wrong:
            error = wrong
        except Exception:
            log.exception("a grammar failed", extra={"fields": {"request_id": stream.request.id}})
        with self._changed:
            self._scheduler.compiling.discard(stream)
            if matcher and not self._ended:
                self._scheduler.matchers[stream] = matcher
                self._scheduler.waiting.append(stream)
                self._changed.notify()
            self._report()
        if not matcher or self._ended:
            outbox = Outbox()
            outbox.put(stream, ErrorEvent(unavailable("draining") if matcher else error))
            outbox.flush()

    def _supervise(self) -> None:
        """Run steps; when one fails as a whole, begin again with an empty cache."""
        pause = 0.05
        while True:
            try:
                if not self._healthy:
                    self._graph.warm_up()
                    self._healthy = True
                    log.info("the engine runs again")
                while True:
                    self._step()
                    pause = 0.05
            except BaseException:
                log.exception("the engine failed; what was running is ended, and it starts again")
                self._crashed()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _crashed(self) -> None:
        self._healthy = False
        with self._changed:
            for stream in {run.stream for run in self._scheduler.running}:
                self._fail(stream)
            self._slots.clear()
            self._metrics.restarted()
            self._report()
        for slot in range(self._slots.count):
            self._graph.cache.release(slot)
        self._hand_over()

    def _step(self) -> None:
        with self._changed:
            while not self._scheduler.waiting and not self._scheduler.running:
                self._changed.wait()
            swept, admitted = self._sweep(), self._scheduler.admit(self._fail_alone)
            for run, released in admitted:
                self._begin(run.stream)
                for slot, kept in released:
                    self._graph.cache.release(slot, kept)
            if swept or admitted:
                self._report()
        self._close_up()
        if first := self._scheduler.prefilling():
            self._prefill(first)
            self._hand_over()
        alone = len(self._scheduler.running) == 1
        decoding = self._scheduler.decoding
        if decoding and not (alone and self._speculate(decoding[0])):
            self._decode(decoding)
        self._hand_over()

    def _sweep(self) -> bool:
        """Let those go that nobody waits for any more. Returns whether there were any."""
        scheduler = self._scheduler
        streams = (*scheduler.waiting, *(run.stream for run in scheduler.running))
        gone = {stream for stream in streams if stream.cancelled}
        for stream in gone:
            scheduler.drop(stream)
            if stream.cause == "client":
                self._metrics.cancelled()
            self._outbox.put(stream, DoneEvent())
        return bool(gone)

    def _begin(self, stream: Stream) -> None:
        if stream.started is None:
            stream.started = time.monotonic()
            self._metrics.started(stream.started - stream.submitted, sum(map(len, stream.request.prompts)))
