"""One completion while it grows: sampler, text, stop strings, and when it is done.

It is told logits and answers with events; it does not know where they come from, nor who else is in the batch.
"""

import math
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from serving.engines.decode.adapters import NONE, Adapter
from serving.engines.decode.detokenizer import Detokenizer
from serving.engines.decode.grammar import Grammar, Matcher
from serving.engines.decode.sampling import Sampler, SamplingParameters, likeliest, log_softmax
from serving.engines.decode.text import StopStrings, Vocabulary
from serving.http.errors import ApiError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """What the engine is asked for. Token ids in, events out; choice = prompt × n + completion."""

    id: str
    prompts: tuple[tuple[int, ...], ...]
    n: int = 1
    max_tokens: int = 16
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the likeliest tokens to report with each token; 0: only the token's own; None: nothing."""
    echo: bool = False
    """Report the prompt's tokens too, as events with `prompt` set."""
    ignore_eos: bool = False
    """Go on after the end-of-text token (for benchmarks)."""
    grammar: Grammar | None = None
    """What the text must look like."""
    adapter: Adapter = NONE
    deadline: float | None = None
    """Seconds that it may take, waiting included; None: as long as the engine allows. Never longer than that."""


class TokenEvent(NamedTuple):
    """One token of one choice. `text` may be empty: half a character, or a possible stop string is held back."""

    choice: int
    token: int
    text: str
    raw: bytes
    """What the token adds to the text, whether it is held back or not."""
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    prompt: bool = False
    """A token of the prompt, repeated because of `echo`."""

    def likeliest(self, vocabulary: Vocabulary) -> list[tuple[bytes, float]]:
        """The likeliest tokens in this one's place, as what each would add, with their log-probabilities."""
        return [(self.raw if token == self.token else vocabulary.bytes[token], value) for token, value in self.top]


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """A choice is complete; `text` is what was held back until now."""

    choice: int
    text: str
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class DoneEvent:
    """All choices of the request are complete, or it was cancelled."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The request failed; nothing follows."""

    error: ApiError


Score = tuple[float | None, tuple[tuple[int, float], ...]]
"""A token's log-probability, and the likeliest tokens in its place with theirs."""

Event = TokenEvent | FinishEvent | DoneEvent | ErrorEvent


class Sequence:
    """The state of one choice of a request."""

    def __init__(
        self, request: Request, choice: int, vocabulary: Vocabulary, eos: Container[int],
        matcher: Matcher | None = None,
    ) -> None:  # fmt: skip
        """`eos`: the tokens that end a text; `matcher`: says which tokens the request's grammar allows."""
        self.choice = choice
        self.prompt = request.prompts[choice // request.n]
        self.tokens: list[int] = []
        self.reason: FinishReason | None = "length" if request.max_tokens == 0 else None
        self._request, self._vocabulary, self._eos, self._matcher = request, vocabulary, eos, matcher
        self._sampler = Sampler(request.sampling, choice, self.prompt)
        self._text = Detokenizer(vocabulary, self.prompt, exact=matcher is not None)
        self._stops = StopStrings(request.stop)
        self.plain = self._sampler.plain and matcher is None
        """The next token is always the likeliest one: `push` may be told it."""

    @property
    def done(self) -> bool:
        """No more logits are wanted."""
        return self.reason is not None

    @property
    def left(self) -> int:
        """How many tokens may still come."""
        return self._request.max_tokens - len(self.tokens)

    def push(self, logits: np.ndarray, likeliest: int | None = None) -> TokenEvent:
        """Draw the next token from logits [V]; `likeliest`: their argmax, where it is known and the choice is plain.

        Raises ValueError when they are not finite.
        """
        request, matcher = self._request, self._matcher
        if likeliest is not None and self.plain:
            token = likeliest
            if not math.isfinite(logits[token]):
                raise ValueError("the model's logits are not finite")
        else:
            token = self._sampler(logits, matcher.allowed() if matcher else None)
        self.tokens.append(token)
        if token in self._eos and not request.ignore_eos:
            raw, text = self._vocabulary.bytes[token], ""
            self.reason = "stop"
        else:
            raw, text = self._text.push(token)
            text, stopped = self._stops.push(text)
            if stopped:
                self.reason = "stop"
                self._text = Detokenizer(self._vocabulary)  # what follows a stop string is not shown
            elif matcher and matcher.accept(token):
                self.reason = "stop"
            elif len(self.tokens) >= request.max_tokens:
                self.reason = "length"
        if request.logprobs is None:
            return TokenEvent(self.choice, token, text, raw)
        return TokenEvent(self.choice, token, text, raw, *_score(log_softmax(logits), token, request.logprobs))

    def finish(self) -> FinishEvent:
        """The last event of a choice that is done."""
        assert self.reason is not None
        text, stopped = self._stops.push(self._text.flush())
        return FinishEvent(self.choice, text if stopped else text + self._stops.flush(), self.reason)

    def echo(self, scores: list[Score]) -> list[TokenEvent]:
        """Events for the prompt's tokens. `scores`: of all tokens but the first, or empty where not wanted."""
        text, events = Detokenizer(self._vocabulary), []
        for index, token in enumerate(self.prompt):
            raw, shown = text.push(token)
            if index == len(self.prompt) - 1:
                shown += text.flush()
            score = scores[index - 1] if scores and index else (None, ())
            events.append(TokenEvent(self.choice, token, shown, raw, *score, prompt=True))
        return events


def score(logits: np.ndarray, targets: tuple[int, ...], count: int) -> list[Score]:
    """For each target, predicted by a row of logits [len(targets), V]: its log-probability and the likeliest tokens."""
    return [_score(log_softmax(row), token, count) for row, token in zip(logits, targets, strict=True)]


def _score(logprobs: np.ndarray, token: int, count: int) -> Score:
    """From the model's own distribution, before temperature and the like."""
    return float(logprobs[token]), tuple((other, float(logprobs[other])) for other in likeliest(logprobs, count))
