"""Times of a series: read, put in order, and held against one step, so that a gap does not pass for a neighbour.

A step is a fixed time (15min, 1h, 1d) or a number of months, whose lengths differ. Times without a zone are UTC's, so
that no hour is missing or twice where clocks are set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from base.errors import MetrolineError
from data.values import Value

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
MONTH = 28 * 86400
"""Seconds from which on a step may be one of months."""
FILL = "add the missing rows, or let them be gaps: data.gaps: fill"


@dataclass(frozen=True)
class Step:
    """The time between two steps: seconds, or months."""

    seconds: int = 0
    months: int = 0

    def __str__(self) -> str:
        if self.months:
            return f"{self.months} month" + "s" * (self.months > 1)
        size, unit = next(each for each in UNITS if self.seconds % each[0] == 0)
        return f"{self.seconds // size}{unit}"

    @property
    def season(self) -> int:
        """Steps of the usual season: a day of hours and less, a week of days, a year of months; 1: none."""
        if self.months:
            return 12 // self.months if 12 % self.months == 0 else 1
        whole = 7 * 86400 if self.seconds >= 86400 else 86400
        return whole // self.seconds if whole % self.seconds == 0 else 1


def moment(value: Value, where: str) -> datetime:
    """A time of ISO 8601, or a number of seconds since 1970. Raises MetrolineError: it is none."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        found = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        raise MetrolineError(f"{where}: {value!r} is no time", hint="write ISO 8601, as 2016-07-01 13:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def step_of(times: Sequence[datetime]) -> Step:
    """The step that most neighbours of these rising times are apart. Raises MetrolineError: fewer than three times, or
    no whole number of seconds."""
    if len(times) < 3:
        raise MetrolineError(f"a series of {len(times)} steps", hint="a series needs thousands of them, or hundreds")
    gaps = sorted((b - a).total_seconds() for a, b in pairwise(times))
    usual = gaps[len(gaps) // 2]
    if usual >= MONTH and len({(_day(time), time.time()) for time in times}) == 1:
        months = sorted(_months(b) - _months(a) for a, b in pairwise(times))
        return Step(months=months[len(months) // 2])
    if usual < 1 or usual != int(usual):
        raise MetrolineError(f"the steps are {usual:g} s apart", hint="a step is a whole number of seconds")
    return Step(seconds=int(usual))


def places(times: Sequence[datetime], ids: Sequence[str], *, fill: bool) -> tuple[list[int], Step]:
    """The step at which each of these rising times lies, from 0 on, and how far steps are apart. `fill`: times may be
    missing. Raises MetrolineError, which names both rows: a time that comes twice, is missing, or lies between steps.
    """
    for row, (a, b) in enumerate(pairwise(times)):
        if a == b:
            raise MetrolineError(f"{ids[row]} and {ids[row + 1]} have the same time {a:%Y-%m-%d %H:%M:%S}",
                                 hint="several series in one table? take the rows of one")  # fmt: skip
    step = step_of(times)
    found = [0]
    for row, (a, b) in enumerate(pairwise(times)):
        size = _months(b) - _months(a) if step.months else (b - a).total_seconds()
        each = step.months or step.seconds
        where = f"{ids[row]} and {ids[row + 1]} are {_apart(step, size)} apart, not {step}"
        if size % each:
            raise MetrolineError(where, hint="a series has equal steps: resample it first")
        if size != each and not fill:
            raise MetrolineError(where, hint=FILL)
        found.append(found[-1] + int(size // each))
    return found, step


def _apart(step: Step, size: float) -> str:
    if step.months:
        return str(Step(months=int(size)))
    return str(Step(seconds=int(size))) if size == int(size) else f"{size:g}s"


def _day(time: datetime) -> int:
    """The day of the month; 0: the last one."""
    return 0 if (time + timedelta(days=1)).day == 1 else time.day


def _months(time: datetime) -> int:
    return 12 * time.year + time.month
