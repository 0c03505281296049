"""Who waits, who runs, and whose turn it is.

Requests wait in the order of their arrival. A request for several choices gives the others a turn after each, so that
nobody waits for more than one of them. A choice runs when a slot is free and the tokens that it may come to
(prompt and completion) fit into what the cache may hold; until then, nobody behind it is let in before it.
It runs no model. Callers hold the engine's lock while they call what concerns waiting requests.
"""

import time
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from serving.engines.decode.cache import Slots
from serving.engines.decode.grammar import Matcher
from serving.engines.decode.outbox import Stream
from serving.engines.decode.sequence import Score, Sequence
from serving.engines.decode.speculative import Lookup
from serving.engines.decode.text import Vocabulary

TURN = 4
"""Every so many chunks of prompts, the request that came first gets one, however long its prompt is."""


@dataclass(eq=False)
class Running:
    """One choice that has a slot. First its `window` is put into the cache (prefill), then it is `ready` to decode."""

    stream: Stream
    sequence: Sequence
    slot: int
    window: tuple[int, ...]
    length: int = 0
    """Its tokens in the cache."""
    taken: float = field(default_factory=time.monotonic)
    """When it got its slot (time.monotonic)."""
    begun: bool = False
    """The cache was searched for the beginning of the window."""
    ready: bool = False
    token: int = 0
    """The last one drawn, which is not in the cache yet."""
    last: float | None = None
    """When that was (time.monotonic)."""
    scores: list[Score] = field(default_factory=list)
    loss: float | None = None
    """Sum over the prompt's first tokens, when it is to be scored."""
    scored: int = 0
    lookup: Lookup | None = None
    """Where its guesses come from, once it runs alone."""


class Scheduler:
    """The order of things; see the module."""

    def __init__(self, slots: Slots, queue: int, vocabulary: Vocabulary, eos: Container[int]) -> None:
        """`queue`: choices that may wait while nothing is free."""
        self.slots, self._queue, self._vocabulary, self._eos = slots, queue, vocabulary, eos
        self.waiting: deque[Stream] = deque()
        self.matchers: dict[Stream, Matcher] = {}
        self.running: list[Running] = []
        self.compiling: set[Stream] = set()
        """Those whose grammar is being compiled; all their choices count as waiting."""
        self._chunks = 0

    @property
    def queued(self) -> int:
        """Requests of which nothing has run yet."""
        return sum(stream.started is None for stream in self._wanted)

    @property
    def _wanted(self) -> list[Stream]:
        """Requests that have choices left to begin, and somebody who waits for them."""
        return [stream for stream in (*self.waiting, *self.compiling) if not stream.cancelled]

    @property
    def active(self) -> int:
        """Requests that are being answered."""
        streams = {run.stream for run in self.running}
        return len(streams | {stream for stream in self.waiting if stream.started is not None})

    @property
    def line(self) -> int:
        """Choices that wait. Requests that have begun count with what they still want: it is in everybody's way."""
        return sum(stream.choices - stream.next_choice for stream in self._wanted)

    @property
    def full(self) -> bool:
        """One more request would have to be turned away: as many wait as may, and there is no room to begin at once."""
        line = self.line
        if line < self._queue:
            return False
        wanted = ((each, choice) for each in self._wanted for choice in range(each.next_choice, each.choices))
        tokens = sum(self._tokens(each, choice) for each, choice in wanted)
        return self.slots.free <= line or self.slots.reserved + tokens >= self.slots.budget

    def _tokens(self, stream: Stream, choice: int) -> int:
        """What a choice may come to in the cache."""
        request = stream.request
        return min(len(request.prompts[choice // request.n]) + request.max_tokens, self.slots.capacity)

    def admit(self, fail: Callable[[Stream], None]) -> list[tuple[Running, list[tuple[int, int]]]]:
        """Let in whom there is room for. Returns them, each with what `Slots.take` says must be released.

        `fail`: called while the exception is handled that keeps a request, dropped by then, from beginning.
        """
        admitted = []
        while self.waiting:
            stream = self.waiting[0]
            request = stream.request
            prompt = request.prompts[stream.next_choice // request.n]
            tokens = self._tokens(stream, stream.next_choice)
            if not self.slots.fits(tokens):
                break
            matcher = self.matchers.get(stream)
            try:
                matcher = matcher and matcher.fork()
                sequence = Sequence(request, stream.next_choice, self._vocabulary, self._eos, matcher)
            except Exception:
                self.drop(stream)
                fail(stream)
                continue
            self.waiting.popleft()
            slot, released = self.slots.take(prompt, tokens, request.adapter.key)
            run = Running(stream, sequence, slot, prompt)
            self.running.append(run)
            stream.next_choice += 1
            if stream.next_choice < stream.choices:
                self.waiting.append(stream)  # behind the others: they take turns
            admitted.append((run, released))
        return admitted

    def leave(self, run: Running) -> None:
        """It has ended, and its slot is free."""
        self.running.remove(run)
        self.slots.leave(run.slot)

    def drop(self, stream: Stream) -> None:
        """Nothing more of this request will run."""
        for run in [each for each in self.running if each.stream is stream]:
            self.leave(run)
        if stream in self.waiting:
            self.waiting.remove(stream)
        self.matchers.pop(stream, None)

    @property
    def decoding(self) -> list[Running]:
        """The choices that are ready to decode, by slot."""
        return sorted((run for run in self.running if run.ready), key=lambda run: run.slot)

    def prefilling(self) -> Running | None:
        """Whose prompt goes on: the one with least left, so that a long one does not hold up many short ones."""
        left = [run for run in self.running if not run.ready]
        if not left:
            return None
        self._chunks += 1
        if self._chunks % TURN == 0:
            return left[0]
        return min(left, key=lambda run: len(run.window) - run.length)
