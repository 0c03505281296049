"""Choosing the next token from logits, in NumPy: temperature, top-k, top-p, penalties, a seed of its own per request.

It knows neither text nor the model.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


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
    frequency_penalty: float = 0.0


class Sampler:
    """Draws the tokens of one completion. Equal seeds and logits give equal tokens, whatever else the server does."""

    def __init__(self, parameters: SamplingParameters, choice: int = 0) -> None:
        """`choice`: number of the completion within its request; each draws from a stream of its own."""
        self._parameters = parameters
        entropy = None if parameters.seed is None else [parameters.seed % (1 << 64), choice]
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
        self._counts: dict[int, int] = {}

    def __call__(self, logits: Array) -> int:
        """Draw a token from logits [V]. Raises ValueError when they are not finite."""
        parameters = self._parameters
        if self._counts and (parameters.presence_penalty or parameters.frequency_penalty):
            logits = self._penalised(logits)
        if parameters.temperature == 0 or parameters.top_k == 1:
            token = int(logits.argmax())
            if not np.isfinite(logits[token]):
                raise ValueError("the model's logits are not finite")
        else:
            token = self._draw(logits)
        self._counts[token] = self._counts.get(token, 0) + 1
        return token

    def _penalised(self, logits: Array) -> Array:
        logits = logits.copy()
        tokens = np.fromiter(self._counts, dtype=np.int64)
        counts = np.fromiter(self._counts.values(), dtype=np.float32)
        logits[tokens] -= self._parameters.presence_penalty + self._parameters.frequency_penalty * counts
        return logits

    def _draw(self, logits: Array) -> int:
        parameters, tokens = self._parameters, None
        if 0 < parameters.top_k < len(logits):
            tokens = np.argpartition(logits, -parameters.top_k)[-parameters.top_k :]
            logits = logits[tokens]
        highest = logits.max()
        if not np.isfinite(highest):
            raise ValueError("the model's logits are not finite")
        # float64, so that small temperatures and long tails lose nothing: [V] or [k]
        weights = np.subtract(logits, highest, dtype=np.float64)
        weights /= parameters.temperature
        np.exp(weights, out=weights)
        if parameters.top_p < 1:
            # Values are sorted, not indices, which is several times as fast; tokens as likely as the last one stay too.
            descending = np.sort(weights)[::-1]
            cumulative = np.cumsum(descending)
            reached = int(np.searchsorted(cumulative, parameters.top_p * cumulative[-1]))
            kept = np.flatnonzero(weights >= descending[min(reached, len(weights) - 1)])
            tokens, weights = kept if tokens is None else tokens[kept], weights[kept]
        cumulative = np.cumsum(weights)
        # The first index whose cumulative weight is over the draw; never one of weight 0.
        index = int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))
        index = min(index, len(cumulative) - 1)
        return index if tokens is None else int(tokens[index])


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
