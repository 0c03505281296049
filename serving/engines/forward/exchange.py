"""A request of a model of one call, for another release to answer: item by item, beside the batches of live traffic."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

import numpy as np

from base.errors import BadItem
from data.signature import Signature
from serving.engines.exchange import NOT_FINITE, Comparison
from serving.engines.forward.agreement import agreement
from serving.engines.forward.graph import Array
from serving.engines.forward.preparation import Raw

MOST = 64
"""Items of a request with an error that are all asked again; of larger ones nothing is said."""
TURNS = 3
"""Runs of each engine when they are timed, turn about; the fastest of each counts."""


class Answering(Protocol):
    """What is asked of the engine of a release."""

    signature: Signature

    def alone(self, item: tuple[Raw, ...]) -> Sequence[Array]:
        """The outputs of one item."""


@dataclass(frozen=True)
class ForwardExchange:
    """See Exchange."""

    request_id: str
    items: Sequence[tuple[Raw, ...]]
    outputs: Sequence[Sequence[Array]] | None
    """Of each item; None: to be asked for, or there are none."""
    problem: str | None = None

    def again(self, own: Answering, other: Answering, *, timed: bool) -> Comparison:
        """See Exchange. Of several items one is compared, chosen by the request's id; of an error all are asked."""
        if self.problem is not None:
            if len(self.items) > MOST:
                return Comparison("busy")
            problems = [problem for item in self.items if (problem := _answered(other, item)[0])]
            return Comparison(problems[0] if problems else None)
        place = crc32(self.request_id.encode()) % len(self.items)
        item = self.items[place]
        problem, found = _answered(other, item)
        if problem:
            return Comparison(problem)
        outputs = own.alone(item) if self.outputs is None else self.outputs[place]
        alike, apart = agreement(own.signature, outputs, other.signature, found)
        return Comparison(None, alike, apart, _ratio(lambda: own.alone(item), lambda: other.alone(item), timed))


def _answered(engine: Answering, item: tuple[Raw, ...]) -> tuple[str | None, Sequence[Array]]:
    """(code of the error or None, outputs)."""
    try:
        outputs = engine.alone(item)
    except BadItem:
        return "invalid_input", ()
    except Exception:  # onnxruntime's own exceptions have no common public base
        return "internal_error", ()
    return (None if all(np.isfinite(array).all() for array in outputs) else NOT_FINITE), outputs


def _ratio(own: Callable[[], object], other: Callable[[], object], timed: bool) -> float | None:
    if not timed:
        return None
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for kept, call in zip(seconds, (own, other), strict=True):
            started = time.perf_counter()
            call()
            kept.append(time.perf_counter() - started)
    return min(seconds[1]) / min(seconds[0])
