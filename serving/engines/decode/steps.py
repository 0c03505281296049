"""What one step of the engine does: a chunk of a prompt into the cache, a token for each running sequence.

All of it runs in the engine's thread; what the event loop's thread sees too is changed under `_changed`.
"""

import logging
import threading
import time

import numpy as np

from serving.engines.decode.cache import Slots
from serving.engines.decode.drift import SHORTEST, Drift, prompt_loss
from serving.engines.decode.graph import Graph
from serving.engines.decode.metrics import EngineMetrics
from serving.engines.decode.outbox import Outbox, Stream
from serving.engines.decode.scheduler import Running, Scheduler
from serving.engines.decode.sequence import DoneEvent, ErrorEvent, score
from serving.engines.decode.speculative import Lookup
from serving.engines.decode.state import StateGraph
from serving.engines.decode.text import Vocabulary
from serving.http.errors import ApiError, internal

log = logging.getLogger("metroline.engine")

PATIENCE = 4
"""Steps for which a free slot between running ones is computed in vain, before one of them is moved into it: most are
taken by the next request, and moving costs about as much."""

WIDE = 4
"""How much longer the chunks of a prompt are while nobody waits for their next token."""

METER = 0.1
"""Seconds after which the metrics of steps are reported at the latest: at each step it would cost 3 % of one stream."""


class Steps:
    """A graph, its slots, the sequences that run in them and those that wait."""

    def __init__(
        self, graph: Graph | StateGraph, vocabulary: Vocabulary, ends: tuple[int, ...], metrics: EngineMetrics,
        drift: Drift, *, queue: int, chunk: int, kv_tokens: int, speculative: int,
    ) -> None:  # fmt: skip
        """`queue`: completions that may wait.

        `chunk`: tokens of a prompt between two steps of others, and what is reused of one is a multiple of it;
        `kv_tokens`: what the cache may hold, 0: all that its slots can;
        `speculative`: tokens to guess in one step when one sequence runs alone, 0: none.
        """
        self._graph, self._metrics, self._drift = graph, metrics, drift
        self._chunk = min(chunk, graph.context)
        self._speculative = speculative if graph.rewinds else 0
        budget = kv_tokens or graph.slots * graph.context
        shared = self._chunk if graph.rewinds else graph.context  # in multiples of the whole context: never
        self._slots = Slots(graph.slots, graph.context, shared, budget)
        self._scheduler = Scheduler(self._slots, queue, vocabulary, frozenset(ends))
        self._outbox = Outbox()
        self._batches: list[int] = []  # of the decode steps that are not reported yet: how many sequences
        self._gaps: list[float | None] = []  # of the tokens that are not: the time since the one before
        self._metered = 0.0  # when they were reported last
        self._changed = threading.Condition()
        self._seconds = 1.0  # rolling mean of the time that a completion has its slot, for Retry-After
        self._holes = 0  # steps for which there has been a free slot between running ones
        self.generated = 0
        """Tokens generated since the start."""
        metrics.capacity(graph.slots, self._slots.budget)

    def _report(self) -> None:
        scheduler = self._scheduler
        self._metrics.queued(scheduler.queued)
        self._metrics.active(scheduler.active)
        self._metrics.running(len(scheduler.running), self._slots.reserved)
        self._metered = 0.0  # what ends is to be seen at once

    def _hand_over(self) -> None:
        """Let the event loop have what was put into the outbox, and before that, when it is time, report the steps."""
        now = time.monotonic()
        if now - self._metered > METER and self._gaps:
            sizes, self._batches, gaps, self._gaps = self._batches, [], self._gaps, []
            self._metrics.steps(sizes, gaps)
            self._metered = now
        self._outbox.flush()

    def _close_up(self) -> None:
        """Move a sequence into a slot that has stayed free between others."""
        if not (move := self._slots.hole()):
            self._holes = 0
            return
        self._holes += 1
        if self._holes <= PATIENCE:
            return
        source, target = move
        run = next(each for each in self._scheduler.running if each.slot == source)
        # One that has not begun yet may find the beginning of its prompt in what the slot held before.
        self._graph.cache.copy(source, target, max(run.length, self._slots.held(source)))
        self._slots.move(source, target)
        self._graph.cache.release(source)
        run.slot = target

    def _prefill(self, run: Running) -> None:
        """Put the next chunk of a prompt into the cache; after the last one the first token is drawn."""
        sequence, request = run.sequence, run.stream.request
        echoed = request.echo and not sequence.tokens
        counted = request.logprobs if echoed else None  # all of the prompt's logits are wanted, not only the last
        if not run.begun:
            self._reuse(run, whole=counted is not None)
        start, end = run.length, self._border(run)
        last = end == len(run.window)
        targets = run.window[start + 1 : end + 1]
        first = targets[: max(0, self._drift.tokens - 1 - start)] if run.loss is not None else ()
        rows = [*range(len(first if counted is None else targets)), *([end - start - 1] if last else [])]
        logits = self._graph.extend(
            run.slot, np.array(run.window[start:end]), start, np.array(rows, np.int64), request.adapter.row
        )
        run.length = end
        self._slots.holds(run.slot, run.window[:end], request.adapter.key)
        if counted is not None:
            run.scores += score(logits[: len(targets)], targets, counted)
        if run.loss is not None and first:
            run.loss += prompt_loss(logits[: len(first)], first)
            run.scored += len(first)
        if not last:
            return
        run.ready = True
        if run.loss is not None and run.scored + 1 >= SHORTEST:
            self._drift.add(run.loss / run.scored)
            self._metrics.prompt(run.loss / run.scored, self._drift.score)
        for event in sequence.echo(run.scores) if echoed else ():
            self._outbox.put(run.stream, event)
        if sequence.done:  # nothing but the prompt was asked for
            self._finish(run)
        else:
            self._draw(run, logits[-1])

    def _border(self, run: Running) -> int:
        """Where the next chunk of the window ends: soon when others wait for their next token, else later.

        Where it is cut changes no bit, with one exception. A single token goes through the graph by another way (a
        matrix-vector product): one that is left over after whole chunks always goes alone.
        """
        waited_for = any(other.ready for other in self._scheduler.running)
        size = self._chunk if waited_for else WIDE * self._chunk
        window = len(run.window)
        end = min(run.length + size, window)
        return end - 1 if end == window and window % self._chunk == 1 and end - run.length > 1 else end

    def _reuse(self, run: Running, whole: bool) -> None:
        """Take the beginning of the window from a slot that holds it. `whole`: all of it is to be computed anew."""
        run.begun, found, adapter = True, 0, run.stream.request.adapter
        if not whole:
            source, found = self._slots.match(run.window, run.slot, adapter.key)
            if source != run.slot:
                self._graph.cache.copy(source, run.slot, found)
            self._metrics.prefix(found)
        run.length = found
        self._slots.holds(run.slot, run.window[:found], adapter.key)
        sequence, request = run.sequence, run.stream.request
        first = not sequence.tokens and sequence.choice % request.n == 0
        run.loss = 0.0 if first and not found and not adapter.row and self._drift.due() else None

    def _decode(self, decoding: list[Running]) -> None:
        """One token for each of them, from one call over the slots from the first to the last."""
        low, count = decoding[0].slot, decoding[-1].slot + 1 - decoding[0].slot
        tokens, positions = [-1] * count, [self._slots.held(slot) for slot in range(low, low + count)]
        for run in self._scheduler.running:  # rows of others write where nothing is kept yet
            if 0 <= run.slot - low < count:
                tokens[run.slot - low] = run.token if run.ready else -1
                positions[run.slot - low] = max(run.length, positions[run.slot - low] if not run.begun else 0)
        adapters = None
        if self._graph.bank:
            adapters = [0] * count
            for run in decoding:
                adapters[run.slot - low] = run.stream.request.adapter.row
        logits = self._graph.decode(low, tokens, positions, adapters)
        self._batches.append(len(decoding))
        likeliest = logits.argmax(axis=1).tolist()
        for run in decoding:
            if not run.stream.cancelled:
                run.length += 1
                self._draw(run, logits[run.slot - low], likeliest[run.slot - low])

    def _speculate(self, run: Running) -> bool:
        """Check several guessed tokens in one call. Returns whether there was a guess."""
        sequence = run.sequence
        most = min(self._speculative, self._graph.context - run.length - 1, sequence.left - 1)
        if most < 1:
            return False
        if run.lookup is None:
            run.lookup = Lookup(sequence.prompt)
        guessed = run.lookup.guess(sequence.tokens, most)
        if not guessed:
            return False
        tokens = np.array([run.token, *guessed])
        adapter = run.stream.request.adapter.row
        logits = self._graph.extend(run.slot, tokens, run.length, np.arange(len(tokens)), adapter)
        accepted = 0
        for row, guess in zip(logits, [*guessed, None], strict=True):
            run.length += 1
            if not self._draw(run, row) or run.token != guess:
                break
            accepted += 1
        self._metrics.speculated(len(guessed), accepted)
        return True

    def _draw(self, run: Running, logits: np.ndarray, likeliest: int | None = None) -> bool:
        """Draw a token from logits [V] and hand it over. Returns whether the choice goes on."""
        stream, sequence = run.stream, run.sequence
        try:
            event = sequence.push(logits, likeliest)
        except ApiError as error:  # a grammar that turns out to have no way on
            self._fail(stream, error)
            return False
        except Exception:
            self._fail_alone(stream)
            return False
        now = time.monotonic()
        if stream.first_token is None:
            stream.first_token = now
            self._metrics.first_token(now - stream.submitted)
        self._gaps.append(None if run.last is None else now - run.last)
        self.generated += 1
        run.token, run.last = event.token, now
        self._outbox.put(stream, event)
        if sequence.done:
            self._finish(run)
            return False
        if run.length >= self._graph.context:  # full: start again from the last half of the text
            run.window = (*sequence.prompt, *sequence.tokens)[-max(1, self._graph.context // 2) :]
            run.length, run.begun, run.ready = 0, False, False
        return True

    def _finish(self, run: Running) -> None:
        """A choice is complete, and perhaps its request."""
        stream = run.stream
        self._outbox.put(stream, run.sequence.finish())
        stream.completed += 1
        with self._changed:
            self._scheduler.leave(run)
            self._seconds += 0.2 * (time.monotonic() - run.taken - self._seconds)
            if stream.completed == stream.choices:
                self._scheduler.drop(stream)
                self._outbox.put(stream, DoneEvent())  # handed over last: whoever sees the end sees the metrics of it
            self._report()

    def _fail_alone(self, stream: Stream) -> None:
        """The exception that is being handled concerns this request alone."""
        log.exception("a request failed", extra={"fields": {"request_id": stream.request.id}})
        self._fail(stream)

    def _fail(self, stream: Stream, error: ApiError | None = None) -> None:
        stream.cause = stream.cause or "failed"
        with self._changed:
            self._scheduler.drop(stream)
            self._report()
        self._outbox.put(stream, ErrorEvent(error or internal(stream.request.id)))
