"""An own series: a table with a time in each row and a number to forecast."""

from pathlib import Path

from base.errors import MetrolineError
from base.yaml_files import quoted
from data.fetch.own_files import own_files
from data.tables.config import SUFFIXES
from data.times import Step, moment, places
from data.values import Value
from pipelines.recipe.own.columns import SAMPLE, Seen, numeric, scan
from pipelines.recipe.own.found import Found, rows_of

LONGEST = 512
"""Most steps that the network looks back unless the recipe says more."""
SHORTEST = 60
"""Steps below which there is no point in three splits."""


def look(data: Path, name: str, target: str, encoding: str) -> Found:
    """A forecaster of one column, one season ahead. Raises MetrolineError: no table, no such column, a target that is
    no number, no column of times, times that are not equally apart or come twice, a short series."""
    own = own_files(data, "**/*", name=name, suffixes=SUFFIXES)
    seen = scan(own, target, encoding)
    if odd := [value for value in seen.targets if value is not None and not numeric(value)]:
        raise MetrolineError(f"{target} has {odd[0]!r}, which is no number", hint="a forecast is of numbers")
    time = _time(seen, target, data)
    ids = [f"row {number}" for number in range(1, len(seen.columns[time]) + 1)]
    times = sorted(moment(value, place) for value, place in zip(seen.columns[time], ids, strict=True))
    at, step = places(times, [f"{each:%Y-%m-%d %H:%M:%S}" for each in times], fill=True)
    steps = at[-1] + 1 + max(0, seen.rows - SAMPLE)
    if steps < SHORTEST:
        raise MetrolineError(f"{data}: a series of {steps} steps", hint=f"forecasting needs {SHORTEST} or more")
    context, horizon = _window(steps, step)
    windows = int(0.7 * steps) - context - horizon
    values = {
        "subject": "your own series", "rows": rows_of(seen.config), "target": quoted(target), "time": quoted(time),
        "context": str(context), "horizon": str(horizon), "gaps": "fill" if len(at) <= at[-1] else "stop",
        "steps": "800", "every": "100", "half": "400", "batch": str(min(64, max(1, windows // 2))),
        "gate": "test.mse <= 0.5", "floor": "the last value or the last season again",
    }  # fmt: skip
    missing = at[-1] + 1 - len(at)
    gaps = f", {missing:,} of them missing" if missing else ""
    said = f"{steps:,} steps by {time}, {step} apart{gaps}; {target} → forecasting, {horizon} steps ahead of {context}"
    return Found(own, SUFFIXES, said, "series", values)


def _time(seen: Seen, target: str, data: Path) -> str:
    """The first column whose every value is a time, also a text."""
    for name, values in seen.columns.items():
        if name != target and values and all(isinstance(value, str) and _is_time(value) for value in values[:100]):
            return name
    hint = "a column of ISO 8601, as 2016-07-01 or 2016-07-01 13:00, says when each row was"
    raise MetrolineError(f"{data}: no column of times among {', '.join([*seen.columns][:9])}", hint=hint)


def _is_time(value: Value) -> bool:
    if numeric(value):
        return False
    try:
        moment(value, "")
    except MetrolineError:
        return False
    return True


def _window(steps: int, step: Step) -> tuple[int, int]:
    """Steps back and ahead: a season ahead, several back, so that each split has windows."""
    horizon = max(1, min(step.season if step.season > 1 else 12, steps // 20))
    context = min(LONGEST, max(2 * horizon, steps // 4))
    return min(context, steps // 3), horizon
