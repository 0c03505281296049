"""Drift of a running model: the last items against what `evaluate` measured on the test split (`data/drift.py`).

It keeps a few numbers of each item, and none of what was sent.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

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
        self._items: deque[tuple[dict[str, float], dict[str, float]]] = deque(maxlen=WINDOW)
        self._since = 0

    def add(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> dict[Side, dict[str, float]] | None:
        """Count an item, decoded and answered. Returns the scores of both sides, now and then."""
        if not self._reference:
            return None
        self._items.append(features(self._signature, inputs, outputs))
        self._since += 1
        if len(self._items) < ENOUGH or self._since < EVERY:
            return None
        self._since = 0
        return {
            side: {
                name: psi(kept["shares"], shares(kept, [item[place].get(name, float("nan")) for item in self._items]))
                for name, kept in self._reference.get(side, {}).items()
            }
            for place, side in enumerate(SIDES)
        }
