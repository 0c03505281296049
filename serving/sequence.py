"""One completion while it grows: sampler, text, stop strings, and when it is done.

It is told logits and answers with events; it does not know where they come from. That is what lets the engine's loop be
replaced (one stream at a time today, a batch of them later) without touching this.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from serving.errors import ApiError
from serving.grammar import Grammar
from serving.sampling import Sampler, SamplingParameters, likeliest, log_softmax
from serving.text import Detokenizer, StopStrings, Vocabulary

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
    deadline: float | None = None
    """Seconds that it may take, waiting included; None: as long as the engine allows. Never longer than that."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One token of one choice. `text` may be empty: half a character, or a possible stop string is held back."""

    choice: int
    token: int
    text: str
    raw: bytes
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    prompt: bool = False
    """A token of the prompt, repeated because of `echo`."""


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

    def __init__(self, request: Request, choice: int, vocabulary: Vocabulary, eos: int) -> None:
        self.choice = choice
        self.tokens: list[int] = []
        self.reason: FinishReason | None = "length" if request.max_tokens == 0 else None
        self._request, self._vocabulary, self._eos = request, vocabulary, eos
        self._sampler = Sampler(request.sampling, choice, request.prompts[choice // request.n])
        self._text = Detokenizer()
        self._stops = StopStrings(request.stop)

    @property
    def done(self) -> bool:
        """No more logits are wanted."""
        return self.reason is not None

    def push(self, logits: np.ndarray) -> TokenEvent:
        """Draw the next token from logits [V]. Raises ValueError when they are not finite."""
        request = self._request
        token = self._sampler(logits)
        self.tokens.append(token)
        raw = self._vocabulary.bytes[token]
        text = ""
        if token == self._eos and not request.ignore_eos:
            self.reason = "stop"
        else:
            text, stopped = self._stops.push(self._text.push(raw))
            if stopped:
                self.reason = "stop"
                self._text = Detokenizer()  # what follows a stop string is not shown
            elif len(self.tokens) >= request.max_tokens:
                self.reason = "length"
        if request.logprobs is None:
            return TokenEvent(self.choice, token, text, raw)
        logprobs = log_softmax(logits)
        return TokenEvent(self.choice, token, text, raw, *_score(logprobs, token, request.logprobs))

    def finish(self) -> FinishEvent:
        """The last event of a choice that is done."""
        assert self.reason is not None
        text, stopped = self._stops.push(self._text.flush())
        return FinishEvent(self.choice, text if stopped else text + self._stops.flush(), self.reason)

    def echo(self, prompt: tuple[int, ...], scores: list[Score]) -> list[TokenEvent]:
        """Events for the prompt's tokens. `scores`: of all tokens but the first, or empty where not wanted."""
        text, events = Detokenizer(), []
        for index, token in enumerate(prompt):
            raw = self._vocabulary.bytes[token]
            shown = text.push(raw) + (text.flush() if index == len(prompt) - 1 else "")
            score = scores[index - 1] if scores and index else (None, ())
            events.append(TokenEvent(self.choice, token, shown, raw, *score, prompt=True))
        return events


def score(logits: np.ndarray, targets: tuple[int, ...], count: int) -> list[Score]:
    """For each target, predicted by a row of logits [len(targets), V]: its log-probability and the likeliest tokens."""
    return [_score(row, token, count) for row, token in zip(log_softmax(logits), targets, strict=True)]


def _score(logprobs: np.ndarray, token: int, count: int) -> Score:
    """From the model's own distribution, before temperature and the like."""
    return float(logprobs[token]), tuple((other, float(logprobs[other])) for other in likeliest(logprobs, count))
