"""Drift of a running model: the last items against what `evaluate` measured on the test split (`data/drift.py`).

It keeps a few numbers of each item, and none of what was sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.drift import Array, features, psi, shares
from data.signature import Signature
from serving.engines.forward.metrics import Side

WINDOW = 1000
"""Items that count."""
ENOUGH = 200
"""Items before there is a score: ten bins of a few items say nothing."""
EVERY = 100
"""Items between two scores."""
SIDES: tuple[Side, Side] = ("inputs", "outputs")


class ForwardDrift:
    """The window over a model's items. One caller at a time."""

    def __init__(self, signature: Signature, reference: Mapping[str, Any] | None) -> None:
        self._signature, self._reference = signature, reference or {}
        self._kept = [self._reference.get(side, {}) for side in SIDES]
        self._items = [np.full((WINDOW, len(kept)), np.nan) for kept in self._kept]
        self._count = 0

    def add(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> dict[Side, dict[str, float]] | None:
        """Count an item, decoded and answered. Returns the scores of both sides, now and then."""
        if not self._reference:
            return None
        for items, kept, found in zip(self._items, self._kept, features(self._signature, inputs, outputs), strict=True):
            items[self._count % WINDOW] = [found.get(name, np.nan) for name in kept]
        self._count += 1
        if self._count < ENOUGH or self._count % EVERY:
            return None
        return {
            side: {
                name: psi(bins["shares"], shares(bins, items[: self._count, column]))
                for column, (name, bins) in enumerate(kept.items())
            }
            for side, items, kept in zip(SIDES, self._items, self._kept, strict=True)
        }
