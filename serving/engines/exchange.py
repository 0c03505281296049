"""A request that one engine has answered, kept so that another engine of its kind can answer it again.

How a candidate release is compared with the live one (serving/runtime/delivery/) without a word about tasks: each
engine brings its own exchange, and knows when two of its answers are alike.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from serving.http.errors import ApiError

NOT_FINITE = "answer_not_finite"
"""The code of an answer that holds NaN or infinity."""
FAULTS = frozenset({NOT_FINITE, "invalid_input", "internal_error"})
"""Codes of errors that may be the model's fault: another release may have an answer."""


AGAIN = "-again"
"""How the ids of our own requests end, where an engine has ids: those are not compared once more."""
PATIENCE = 60.0
"""Seconds that one comparison may take on the engine's event loop."""


@dataclass(frozen=True)
class Comparison:
    """What the other engine made of a request."""

    problem: str | None = None
    """Code of the error that it had instead of an answer; `busy`: it was not asked, and nothing is said."""
    equal: bool | None = None
    """Alike: the same label, numbers that are near, the same best passage; None: that is too much to ask."""
    difference: float | None = None
    """How far apart: the largest difference of scores, the relative distance of numbers."""
    ratio: float | None = None
    """The other's seconds for this request alone, by those of the first; None: not timed this time."""
    worse: float | None = None
    """Nats a token by which the other finds the prompt less likely; None: it gives no likelihoods, or was not asked."""


class Exchange(Protocol):
    """The request, and the first engine's answer."""

    @property
    def request_id(self) -> str:
        """The request's."""

    @property
    def problem(self) -> str | None:
        """Code of the error that the first engine had instead of an answer."""

    def again(self, own: Any, other: Any, *, timed: bool) -> Comparison:
        """Have `other` answer too. Called from a thread of its own. `own`: the engine that has answered; `timed`: it
        may answer once more, so that the times of both are of the same moment."""


def awaited(work: Coroutine[Any, Any, Comparison], loop: asyncio.AbstractEventLoop) -> Comparison:
    """What work on the engines' event loop makes of a request, from a thread of its own. `busy`: an engine refused it,
    it took too long, or the loop is closed."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result(PATIENCE)
    except ApiError as error:
        return Comparison(error.code if error.code in FAULTS else "busy")
    except (TimeoutError, RuntimeError):  # the loop is closed
        future.cancel()
        return Comparison("busy")
