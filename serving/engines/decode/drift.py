"""Drift: are the prompts still like the text that the model was judged on?

Prefill gives the loss of a prompt for little. A prompt that the model finds strange has a high loss; so the mean loss
of recent prompts, against that of the test split (`reference.json`, written by `evaluate`), tells when use has moved
away from the training data, in subject, language or format. Of many prompts a few are scored, and none whose
beginning was in the cache already: it was scored then. It keeps numbers only, never text.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.engines.decode.sampling import log_softmax

WINDOW = 256
"""Prompts in the rolling mean."""
ENOUGH = 16
"""Prompts before there is a score: a few short ones say nothing."""
SHORTEST = 8
"""Tokens that a prompt must have to count: the first tokens of any text are hard to predict."""
SPACING, SPACING_PER_TOKEN = 0.25, 25e-6
"""Seconds between prompts that are scored, and the same for each token of the vocabulary, the greater counts: a prompt
costs the logits of its first tokens, which are not needed else (20 ms with a vocabulary of 49,152)."""


def prompt_loss(logits: np.ndarray, targets: tuple[int, ...]) -> float:
    """Sum of the negative log-likelihoods, in nats, of `targets` predicted by the rows of logits [len(targets), V]."""
    # One row at a time: all of them at once take three times the logits' own room.
    return -float(sum(log_softmax(row)[target] for row, target in zip(logits, targets, strict=True)))


class Drift:
    """Rolling mean of prompt losses, in nats a token, and its distance from the reference in standard deviations."""

    def __init__(self, reference: Mapping[str, Any] | None, vocabulary: int = 0) -> None:
        """`reference`: loss_mean, loss_std, and tokens (length of the prompts it was measured on), or None."""
        self._spacing = max(SPACING, SPACING_PER_TOKEN * vocabulary)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._mean = float(reference["loss_mean"]) if reference else None
        self._deviation = float(reference["loss_std"]) if reference else 0.0
        self.tokens = int(reference.get("tokens", 64)) if reference else 64
        """How many first tokens of a prompt are scored: longer ones would look easier than the reference's."""
        self._next = 0.0

    def due(self) -> bool:
        """The next prompt is to be scored; then not for a while."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._spacing
        return True

    def add(self, loss: float) -> None:
        """A prompt's mean loss."""
        self._losses.append(loss)

    @property
    def score(self) -> float:
        """|rolling mean - reference mean| / reference standard deviation; 0 while there are too few prompts."""
        if self._mean is None or self._deviation <= 0 or len(self._losses) < ENOUGH:
            return 0.0
        return abs(sum(self._losses) / len(self._losses) - self._mean) / self._deviation
