"""Grafana's units, as far as the dashboards use them (0.0042 s → `4.2 ms`), and durations such as `15m`."""

import math
import re

from base.errors import MetrolineError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> float:
    """`90s`, `15m`, `2h`, `1d` → seconds. Raises MetrolineError for anything else, and for zero."""
    match = re.fullmatch(r"(\d+)([smhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise MetrolineError(f"{text!r} is not a duration", hint="as in 90s, 15m, 2h or 1d")
    return float(int(match[1]) * SECONDS[match[2]])


def format_value(value: float, unit: str, decimals: int | None = None) -> str:
    """A number as Grafana shows it in the given unit."""
    if not math.isfinite(value):
        return str(value)
    if unit == "percentunit":
        return f"{rounded(value * 100, decimals)}%"
    if unit == "s":
        return duration(value, decimals)
    if unit == "bytes":
        return scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"])
    if unit == "locale":
        return f"{value:,.0f}"
    suffix = {"reqps": " req/s"}.get(unit, f" {unit.removeprefix('suffix: ')}" if unit.startswith("suffix: ") else "")
    if decimals is not None:
        return rounded(value, decimals) + suffix
    return scaled(value, 1000, ["", "K", "Mil", "Bil"]) + suffix


def duration(value: float, decimals: int | None = None) -> str:
    """Seconds in the unit that keeps the number short."""
    size = abs(value)
    if size and size < 1e-3:
        return f"{rounded(value * 1e6, decimals)} µs"
    if size and size < 1:
        return f"{rounded(value * 1e3, decimals)} ms"
    for seconds, name in ((604800, "weeks"), (86400, "days"), (3600, "hours"), (60, "mins")):
        if size >= 1.5 * seconds:
            return f"{rounded(value / seconds, decimals)} {name}"
    return f"{rounded(value, decimals)} s"


def scaled(value: float, base: int, names: list[str]) -> str:
    """`value` with the largest name of a power of `base` that leaves at least 1."""
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value, power = value / base, power + 1
    return f"{rounded(value)} {names[power]}".rstrip()


def rounded(value: float, decimals: int | None = None) -> str:
    """With `decimals` places, or with three significant digits and no trailing zeros."""
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
