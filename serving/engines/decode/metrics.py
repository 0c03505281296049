"""What the engine reports while it runs; `serving.runtime.metrics` counts it."""

from collections.abc import Sequence
from typing import Protocol


class EngineMetrics(Protocol):
    """What the engine reports. Called from its thread."""

    def queued(self, count: int) -> None:
        """Requests that wait."""

    def active(self, count: int) -> None:
        """Requests that are being answered."""

    def capacity(self, slots: int, tokens: int) -> None:
        """How many sequences may run, and how many tokens the key/value cache may hold."""

    def running(self, sequences: int, tokens: int) -> None:
        """Sequences that run (a request may have several), and the tokens that are set aside for them in the cache."""

    def prefix(self, tokens: int) -> None:
        """The cache was searched for the beginning of a prompt, and held `tokens` of it."""

    def speculated(self, guessed: int, accepted: int) -> None:
        """Tokens that were guessed in one step, and how many of them were right."""

    def restarted(self) -> None:
        """The engine failed, and starts again."""

    def started(self, seconds: float, tokens_in: int) -> None:
        """A request left the queue after `seconds`."""

    def first_token(self, seconds: float) -> None:
        """A request's first token came `seconds` after its arrival."""

    def steps(self, sizes: Sequence[int], seconds: Sequence[float | None]) -> None:
        """Decode steps since the last call, by the sequences that got a token each; and all tokens drawn since then:
        for each, the time since the one before it in its choice, None: it is the first."""

    def cancelled(self) -> None:
        """A client went away before its request was done."""

    def prompt(self, loss: float, drift: float) -> None:
        """A prompt's mean loss in nats a token, and the drift score after it."""
