"""What the retrieve engine reports while it runs; `serving.runtime.retrieve_metrics` counts it."""

from typing import Protocol


class RetrieveEngineMetrics(Protocol):
    """What the engine reports. Called from the event loop's thread."""

    def active(self, count: int) -> None:
        """Searches that are being answered."""

    def searched(self, mode: str, seconds: float, best: float | None) -> None:
        """A search of the table took so long; `best`: the first passage's score, None: nothing was found."""

    def irrelevant(self) -> None:
        """A chat was told that the documents say nothing of its question."""

    def cancelled(self) -> None:
        """A client went away before its search was done."""
