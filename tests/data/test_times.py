"""Times of a series: what step they are apart, and what is no series."""

from datetime import UTC, datetime

import pytest

from base.errors import MetrolineError
from data.times import moment, places, step_of


def times(*said: str) -> list[datetime]:
    return [moment(each, "row 1") for each in said]


@pytest.mark.parametrize(
    ("said", "step", "season"),
    [
        (["2020-01-01 00:00", "2020-01-01 01:00", "2020-01-01 02:00"], "1h", 24),
        (["2020-01-01", "2020-01-02", "2020-01-03"], "1d", 7),
        (["2020-01-01T00:00:00Z", "2020-01-01T00:15:00Z", "2020-01-01T00:30:00Z"], "15min", 96),
        (["2020-01-31 02:00", "2020-02-29 02:00", "2020-03-31 02:00"], "1 month", 12),  # the last days
        (["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"], "1 month", 12),
        (["2020-01-02", "2020-02-01", "2020-03-02", "2020-04-01"], "30d", 1),
        (["2020-01-01", "2020-04-01", "2020-07-01"], "3 months", 4),
        (["2019-01-01", "2020-01-01", "2021-01-01"], "12 months", 1),
    ],
)
def test_the_step_and_its_season(said: list[str], step: str, season: int) -> None:
    found = step_of(times(*said))
    assert (str(found), found.season) == (step, season)


def test_seconds_since_1970_are_times_too() -> None:
    assert moment(86400, "row 1") == datetime(1970, 1, 2, tzinfo=UTC)


def test_a_missing_time_is_a_step_without_a_row() -> None:
    said = times("2020-01-01", "2020-01-02", "2020-01-05", "2020-01-06")
    assert places(said, list("abcd"), fill=True)[0] == [0, 1, 4, 5]
    months = times("2020-01-01", "2020-02-01", "2020-05-01", "2020-06-01")
    assert places(months, list("abcd"), fill=True)[0] == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("said", "fill", "problem"),
    [
        (["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"], False, "b and c have the same time 2020-01-02"),
        (["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"], False, "b and c are 2d apart, not 1d"),
        (["2020-01-01", "2020-01-02", "2020-01-03 06:00", "2020-01-04 06:00"], True, "b and c are 30h apart, not 1d"),
        (["2020-01-01", "2020-01-02"], False, "a series of 2 steps"),
        (["2020-01-01 00:00:00.5", "2020-01-01 00:00:00.9", "2020-01-01 00:00:01.3"], False, "0.4 s apart"),
    ],
)
def test_what_is_no_series(said: list[str], fill: bool, problem: str) -> None:
    with pytest.raises(MetrolineError, match=problem):
        places(times(*said), list("abcd"), fill=fill)


@pytest.mark.parametrize("value", ["noon", "", "2020-13-01", 1e30, True, None])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(MetrolineError, match=r"row 7: .* is no time"):
        moment(value, "row 7")  # type: ignore[arg-type]
