"""Numbers as the panels show them, and durations as the command line takes them."""

import math

import pytest

from base.errors import MetrolineError
from serving.monitoring.units import format_value, parse_duration


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.0000042, "s", "4.2 µs"),
        (0.0042, "s", "4.2 ms"),
        (1.5, "s", "1.5 s"),
        (80, "s", "80 s"),
        (300, "s", "5 mins"),
        (7200, "s", "2 hours"),
        (259200, "s", "3 days"),
        (0.0314, "percentunit", "3.14%"),
        (1, "percentunit", "100%"),
        (2048, "bytes", "2 KiB"),
        (3 * 2**30, "bytes", "3 GiB"),
        (12345, "locale", "12,345"),
        (6812.4, "suffix: tok/s", "6.81 K tok/s"),
        (9.89, "reqps", "9.89 req/s"),
        (-2_500_000, "short", "-2.5 Mil"),
        (math.nan, "s", "nan"),
    ],
)
def test_format(value, unit, text):
    assert format_value(value, unit) == text


def test_decimals():
    assert format_value(0.0666, "percentunit", 1) == "6.7%"
    assert format_value(3.14159, "short", 3) == "3.142"


def test_durations():
    assert [parse_duration(text) for text in ("90s", "15m", "2h", "1d", "1w")] == [90, 900, 7200, 86400, 604800]


@pytest.mark.parametrize("text", ["", "15", "m", "-5m", "0m", "1.5h", "15 minutes", "5y"])
def test_bad_durations(text):
    with pytest.raises(MetrolineError, match="is not a duration"):
        parse_duration(text)
