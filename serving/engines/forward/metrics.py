"""What the forward engine reports while it runs; `serving.runtime.forward_metrics` counts it."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

Side = Literal["inputs", "outputs"]


class ForwardEngineMetrics(Protocol):
    """What the engine reports. Called from the event loop's thread and from the batcher's."""

    def queued(self, count: int) -> None:
        """Items that wait."""

    def active(self, count: int) -> None:
        """Items that are decoded, wait or run."""

    def decoded(self, seconds: float) -> None:
        """An item's bytes became arrays in so many seconds."""

    def batch(self, waits: Sequence[float], seconds: float) -> None:
        """A forward pass over len(waits) items; `waits`: the seconds that each had waited."""

    def label(self, output: str, label: str) -> None:
        """An item's answer was this label."""

    def number(self, output: str, name: str, value: float) -> None:
        """An item's answer was this number."""

    def cancelled(self) -> None:
        """A client went away before its request was done."""

    def drift(self, side: Side, scores: Mapping[str, float]) -> None:
        """How far the last items are from the reference: the population stability index of each feature."""
