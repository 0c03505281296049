"""Choosing the next token from logits, in NumPy: a seed of its own per request, whatever else the server does.

In this order, the order of Hugging Face's processors: repetition penalty, presence and frequency penalties, logit bias,
the tokens that a grammar allows, temperature, top-k, top-p, min-p. It knows neither text nor the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

BLOCK = 256

COLDEST = 1e-4
"""Below that temperature the likeliest token is always drawn: its neighbours' weights are beyond what floats hold."""


@dataclass(frozen=True)
class SamplingParameters:
    """How a request wants its tokens drawn."""

    temperature: float = 1.0
    """0: always the likeliest token."""
    top_k: int = 0
    """Only among the k likeliest; 0: all."""
    top_p: float = 1.0
    """Only among the fewest tokens whose probabilities add up to p (Holtzman et al. 2020, arXiv:1904.09751)."""
    seed: int | None = None
    presence_penalty: float = 0.0
    """Taken off the logit of every token that was generated already."""
    frequency_penalty: float = 0.0
    """Taken off the logit of a token for each time that it was generated."""
    min_p: float = 0.0
    """Only tokens at least this many times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens in the prompt or generated are divided by it, negative ones multiplied
    (Keskar et al. 2019, arXiv:1909.05858). 1: off."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token, what is added to its logit) pairs."""


class Sampler:
    """Draws the tokens of one completion. Equal seeds and logits give equal tokens, whatever else the server does."""

    def __init__(self, parameters: SamplingParameters, choice: int = 0, prompt: Sequence[int] = ()) -> None:
        """`choice`: number of the completion within its request; each draws from a stream of its own.

        `prompt`: its tokens, which count for the repetition penalty.
        """
        self._parameters = parameters
        entropy = None if parameters.seed is None else [parameters.seed % (1 << 64), choice]
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        self._counts: dict[int, int] = {}
        self._seen = set(prompt) if parameters.repetition_penalty != 1 else set()
        self._bias = tuple(np.array(column) for column in zip(*parameters.logit_bias, strict=True))
        greedy = parameters.temperature < COLDEST or parameters.top_k == 1
        penalised = parameters.presence_penalty or parameters.frequency_penalty or parameters.repetition_penalty != 1
        self._greedy, self._penalised = greedy, bool(penalised)
        self.plain = greedy and not penalised and not self._bias
        """Without a grammar, the token is always the likeliest one: whoever knows that need not call."""

    def __call__(self, logits: Array, allowed: Array | None = None) -> int:
        """Draw a token from logits [V]; `allowed` bool [V]: only one of these.

        Raises ValueError when the logits are not finite.
        """
        if self._penalised or self._bias or allowed is not None:
            logits = self._adjusted(logits, allowed)
        if self._greedy:
            token = int(logits.argmax())
            if not np.isfinite(logits[token]):
                raise ValueError("the model's logits are not finite")
        else:
            token = self._draw(logits)
        if self._penalised:
            self._counts[token] = self._counts.get(token, 0) + 1
            self._seen.add(token)
        return token

    def _adjusted(self, logits: Array, allowed: Array | None) -> Array:
        parameters, logits = self._parameters, logits.copy()
        if parameters.repetition_penalty != 1 and self._seen:
            tokens = np.fromiter(self._seen, dtype=np.int64)
            seen = logits[tokens]
            penalty = np.float32(parameters.repetition_penalty)
            logits[tokens] = np.where(seen > 0, seen / penalty, seen * penalty)
        if self._counts and (parameters.presence_penalty or parameters.frequency_penalty):
            tokens = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[tokens] -= parameters.presence_penalty + parameters.frequency_penalty * counts
        if self._bias:
            tokens, bias = self._bias
            np.add.at(logits, tokens, bias.astype(np.float32))
        if allowed is not None:
            logits[~allowed] = -np.inf
        return logits

    def _draw(self, logits: Array) -> int:
        parameters, tokens = self._parameters, None
        if 0 < parameters.top_k < len(logits):
            tokens = np.argpartition(logits, -parameters.top_k)[-parameters.top_k :]
            logits = logits[tokens]
        highest = logits.max()
        if not np.isfinite(highest):
            raise ValueError("the model's logits are not finite")
        weights = np.exp((logits - highest) * np.float32(1 / parameters.temperature))  # [V] or [k]; the highest is 1
        least = parameters.min_p
        if parameters.top_p < 1:
            least = max(least, _nucleus(weights, parameters.top_p))
        if least > 0:
            kept = np.flatnonzero(weights >= least)
            tokens, weights = kept if tokens is None else tokens[kept], weights[kept]
        index = _pick(weights, self._random.random())
        return index if tokens is None else int(tokens[index])


def _pick(weights: Array, point: float) -> int:
    """The index at which the running sum of weights [V] passes `point` (0 to 1) of the whole; never one of weight 0.

    First among blocks, then within one: adding up one by one is the slow part of a draw.
    """
    starts = np.arange(0, len(weights), BLOCK)
    blocks = np.cumsum(np.add.reduceat(weights, starts, dtype=np.float64))
    target = point * blocks[-1]
    block = min(int(np.searchsorted(blocks, target, side="right")), len(blocks) - 1)
    start = int(starts[block])
    inside = np.cumsum(weights[start : start + BLOCK], dtype=np.float64)
    target = min(target - (blocks[block - 1] if block else 0.0), np.nextafter(inside[-1], 0))
    return start + int(np.searchsorted(inside, target, side="right"))


def _nucleus(weights: Array, top_p: float) -> float:
    """The least weight among the fewest of weights [V] that add up to `top_p` of them all; ties of it stay in.

    The highest weight is about 1. Only as many as are needed are sorted: those over a bound which is lowered until they
    add up to enough. All weights under the last one, (1 - p) · total / V, add up to less than (1 - p).
    """
    total = weights.sum(dtype=np.float64)
    for bound in (1e-2, 1e-4, 0.0):
        some = weights[weights >= (bound or (1 - top_p) * total / len(weights))]
        if not bound or some.sum(dtype=np.float64) >= top_p * total:
            break
    descending = np.sort(some)[::-1]
    reached = int(np.searchsorted(np.cumsum(descending, dtype=np.float64), top_p * total))
    return float(descending[min(reached, len(descending) - 1)])


def log_softmax(logits: Array) -> Array:
    """Log-probabilities over the last axis, float32 [..., V]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def likeliest(logprobs: Array, count: int) -> list[int]:
    """The `count` likeliest tokens of logprobs [V], likeliest first."""
    count = min(count, len(logprobs))
    if count == 0:
        return []
    top = np.argpartition(logprobs, -count)[-count:]
    return [int(token) for token in top[np.argsort(-logprobs[top], kind="stable")]]
