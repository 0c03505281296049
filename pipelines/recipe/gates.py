"""Gates: bounds that a model must keep before it is released, such as `test.bits_per_byte <= 1.50`.

A gate compares one measured value with a number or with another measured value. The values are those of
`metrics.json` (`test.loss`, `baselines.xz_bits_per_byte`, ...) and of `parity.json` below `parity.`
(`parity.onnx.max_abs`; `parity.int8.loss_delta` is also `int8.loss_delta`, and so for int4).

It measures nothing itself, and imports nothing heavy: recipes are checked with it.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from base.errors import MetrolineError, nearest

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
OPEN = ("groups.", "parity.", "int8.", "int4.")
"""What the names begin with that depend on the data or on what is exported."""
METRIC = r"[A-Za-z_][\w-]*(?:\.[\w-]+(?:=[\w-]+)?)*"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
SYNTAX = re.compile(rf"\s*({METRIC})\s*(<=|>=|<|>)\s*({METRIC}|{NUMBER})\s*")


@dataclass(frozen=True)
class Gate:
    """One bound. `bound` is a number, or the name of another value."""

    metric: str
    comparison: str
    bound: float | str

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Read `metric <= bound`. Raises MetrolineError when `text` is anything else."""
        match = SYNTAX.fullmatch(text)
        if match is None:
            raise MetrolineError(
                f"gates: {text!r} is not a gate", hint="write it as METRIC <= BOUND, with <=, <, >= or >"
            )
        metric, comparison, bound = match.groups()
        return cls(metric, comparison, bound if re.fullmatch(METRIC, bound) else float(bound))

    def __str__(self) -> str:
        bound = self.bound if isinstance(self.bound, str) else f"{self.bound:g}"
        return f"{self.metric} {self.comparison} {bound}"


@dataclass(frozen=True)
class Result:
    """A gate with the two numbers it compared."""

    gate: Gate
    value: float
    bound: float
    passed: bool


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """`{"test": {"loss": 3.1}}` → `{"test.loss": 3.1}`. Text and lists are left out; they cannot be compared."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[prefix + name] = float(value)
    return flat


def measured(metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> dict[str, float]:
    """All values that gates may name, from the contents of `metrics.json` and `parity.json`."""
    return flatten({**metrics, "parity": parity, **{form: parity.get(form, {}) for form in ("int8", "int4")}})


def floor(metrics: Mapping[str, Any]) -> str:
    """The gate that is always checked: the primary metric of `metrics.json` beats the task's floor.

    Raises MetrolineError when the metrics name none.
    """
    try:
        primary = metrics["primary"]
        return f"{primary['metric']} {'>' if primary['better'] == 'higher' else '<'} {primary['floor']}"
    except (KeyError, TypeError):
        raise MetrolineError("metrics.json names no primary metric", hint="metroline stage evaluate RECIPE") from None


def known_metric(name: str, measured: Iterable[str]) -> bool:
    """Whether a line can measure something of this name, where every recipe of its task has `measured`; the release
    knows whether it did."""
    return name in measured or name.startswith(OPEN)


def check(gates: Iterable[str], values: Mapping[str, float]) -> list[Result]:
    """Compare every gate with `values`. A value that is NaN passes no gate. Raises MetrolineError: unknown metric."""
    results = []
    for gate in map(Gate.parse, gates):
        value = _look_up(gate.metric, values, gate)
        bound = _look_up(gate.bound, values, gate) if isinstance(gate.bound, str) else gate.bound
        results.append(Result(gate, value, bound, passed=COMPARISONS[gate.comparison](value, bound)))
    return results


def require(gates: Iterable[str], values: Mapping[str, float]) -> list[Result]:
    """As `check`, but raises MetrolineError with a table of all gates when one of them failed."""
    results = check(gates, values)
    failed = sum(not result.passed for result in results)
    if failed:
        raise MetrolineError(f"{failed} of {len(results)} gates failed, nothing is released:\n{table(results)}")
    return results


def table(results: Iterable[Result]) -> str:
    """A plain text table, one gate a line: `FAILED  test.loss  5.2  <= 4`."""
    rows = [
        (
            "passed" if result.passed else "FAILED",
            result.gate.metric,
            f"{result.value:.6g}",
            f"{result.gate.comparison} {result.bound:.6g}"
            + (f" ({result.gate.bound})" if isinstance(result.gate.bound, str) else ""),
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    return "\n".join("  " + "  ".join([*map(str.ljust, row[:3], widths), row[3]]) for row in rows)


def _look_up(name: str, values: Mapping[str, float], gate: Gate) -> float:
    value = values.get(name)
    if value is None:
        raise MetrolineError(f"gate '{gate}': nothing measured is called {name}", hint=nearest(name, sorted(values)))
    return value if math.isfinite(value) else math.nan
