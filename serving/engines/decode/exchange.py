"""A request for text, for another release to answer: the same text where nothing is left to chance, and how likely each
release finds the prompt.

Two releases that were trained apart seldom write the same text, so that alone says nothing against one (`equal` is
then no evidence); what they think of a prompt that neither wrote does.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from serving.engines.decode.outbox import Stream
from serving.engines.decode.sampling import COLDEST, SamplingParameters
from serving.engines.decode.sequence import DoneEvent, ErrorEvent, Event, FinishEvent, Request, TokenEvent
from serving.engines.decode.text import Vocabulary
from serving.engines.exchange import AGAIN, FAULTS, Comparison, awaited

TOKENS = 24
"""That the other release writes, at most."""
SHORTEST = 4
"""Tokens of a prompt that says something about who finds it likely."""


class Writing(Protocol):
    """What is asked of the engine of a release."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokens."""

    @property
    def context(self) -> int:
        """Tokens that it sees."""

    def submit(self, request: Request) -> Stream:
        """Queue a request."""


@dataclass(frozen=True)
class DecodeExchange:
    """See Exchange. Of several prompts and completions the first is compared."""

    request: Request
    text: str
    loop: asyncio.AbstractEventLoop
    problem: str | None = None

    @property
    def request_id(self) -> str:
        """See Exchange."""
        return self.request.id

    def again(self, own: Writing, other: Writing, *, timed: bool) -> Comparison:
        """See Exchange. The engines' own queues are taken: where one is full nothing is said."""
        prompt = translated(self.request.prompts[0], own.vocabulary, other.vocabulary)
        if prompt is None or len(prompt) + TOKENS > other.context:
            return Comparison("busy")
        return awaited(self._compare(own, other, prompt, timed=timed), self.loop)

    async def _compare(self, own: Writing, other: Writing, prompt: tuple[int, ...], *, timed: bool) -> Comparison:
        most = min(self.request.max_tokens, TOKENS)
        wanted = replace(self.request, id=self.request.id + AGAIN, prompts=(prompt,), n=1, max_tokens=most,
                         logprobs=None, echo=False, deadline=None)  # fmt: skip
        sampling = self.request.sampling
        certain = sampling.temperature < COLDEST or sampling.top_k == 1
        text = await written(other, wanted) if most and (certain or self.problem) else None
        same = None if text is None else self.text.startswith(text) or text.startswith(self.text)
        apart = None if same is None else float(not same)
        if not timed or self.problem or len(prompt) < SHORTEST:
            return Comparison("busy" if text is None else None, None, apart)
        original = replace(wanted, prompts=self.request.prompts[:1])
        seconds = [await _seconds(engine, _timing(each)) for engine, each in ((own, original), (other, wanted))]
        scores = [await likelihood(engine, each.prompts[0]) for engine, each in ((own, original), (other, wanted))]
        worse = (scores[0] - scores[1]) / (len(original.prompts[0]) - 1)
        return Comparison(None, None, apart, seconds[1] / seconds[0], worse)


@dataclass
class Heard:
    """Listens to the events of a stream, and hands over the exchange at its end."""

    request: Request
    told: Callable[[DecodeExchange], None]
    texts: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """An event on its way to whoever asked."""
        if isinstance(event, TokenEvent | FinishEvent):
            if event.choice == 0 and not (isinstance(event, TokenEvent) and event.prompt):
                self.texts.append(event.text)
            return
        problem = event.error.code if isinstance(event, ErrorEvent) else None
        if isinstance(event, DoneEvent) or problem in FAULTS:
            loop = asyncio.get_running_loop()
            self.told(DecodeExchange(self.request, "".join(self.texts), loop, problem))


def translated(prompt: tuple[int, ...], own: Vocabulary, other: Vocabulary) -> tuple[int, ...] | None:
    """The same text in another vocabulary; None: it has tokens that are no text, as chats have."""
    if own.bytes == other.bytes and own.special == other.special:
        return prompt
    body = prompt[len(own.first) :] if prompt[: len(own.first)] == tuple(own.first) else prompt
    if any(token in own.silent for token in body):
        return None
    text = b"".join(own.bytes[token] for token in body).decode(errors="replace")
    return (*other.first, *other.encode(text))


async def written(engine: Writing, request: Request) -> str:
    """The text of the first completion."""
    async with engine.submit(request) as stream:
        return "".join([event.text async for event in stream if isinstance(event, TokenEvent | FinishEvent)])


async def likelihood(engine: Writing, prompt: tuple[int, ...]) -> float:
    """The log-probability of a prompt after its first token, in nats."""
    request = Request(f"likelihood{AGAIN}", (prompt,), max_tokens=0, logprobs=0, echo=True)
    async with engine.submit(request) as stream:
        return sum([event.logprob or 0.0 async for event in stream if isinstance(event, TokenEvent)])


def _timing(request: Request) -> Request:
    """So that both write equally many tokens."""
    greedy = SamplingParameters(temperature=0.0)
    return replace(request, max_tokens=max(1, request.max_tokens), ignore_eos=True, stop=(), grammar=None,
                   sampling=greedy)  # fmt: skip


async def _seconds(engine: Writing, request: Request) -> float:
    began = time.perf_counter()
    await written(engine, request)
    return time.perf_counter() - began
