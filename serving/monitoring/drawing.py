"""How one panel of a dashboard is drawn with matplotlib: a number, curves over time, or a heat map.

render.py lays the panels out and asks Prometheus; this module only draws what it is given.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import matplotlib.dates as dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from serving.monitoring.promql import Series
from serving.monitoring.units import format_value

BACKGROUND, PANEL, TEXT, MUTED = "#111217", "#181b1f", "#d8d9da", "#8e9099"
COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "yellow": "#fade2a"}
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fa6400"]
DAY = 86400.0
"""matplotlib counts time in days; Prometheus in seconds."""


@dataclass(frozen=True)
class Window:
    """What is asked of Prometheus: from `start` to `end` in Unix seconds, every `step` seconds."""

    start: float
    end: float
    step: float

    @property
    def interval(self) -> str:
        """What `$__rate_interval` stands for: four steps, as Grafana takes at least four scrapes."""
        return f"{max(20, round(4 * self.step))}s"


def colour_of(panel: dict[str, Any], value: float) -> str:
    """The colour that the panel's thresholds give a value."""
    chosen = COLOURS["blue"]
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            chosen = COLOURS.get(step["color"], step["color"])
    return chosen


def named_colour(panel: dict[str, Any], name: str) -> str | None:
    """The colour that the panel fixes for a curve of this name, if any."""
    chosen = None  # a later rule wins, as in Grafana
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), name):
            chosen = next(
                COLOURS[each["value"]["fixedColor"]] for each in override["properties"] if each["id"] == "color"
            )
    return chosen


def draw_number(axes: Axes, panel: dict[str, Any], found: list[tuple[str, Series]]) -> None:
    """The latest value in large type over its history."""
    defaults, options = panel["fieldConfig"]["defaults"], panel["options"]
    series = found[0][1]
    value = [v for _, v in series.points if math.isfinite(v)][-1]
    text, colour = format_value(value, defaults.get("unit", "short"), defaults.get("decimals")), colour_of(panel, value)
    for mapping in defaults.get("mappings", []):
        word = mapping["options"].get(f"{value:g}")
        if word:
            text, colour = word["text"], COLOURS.get(word["color"], word["color"])
    if options["textMode"] == "name":
        text = "\n".join(sorted({each for each, _ in found}))
    if options["graphMode"] == "area" and len(series.points) > 1:
        times, values = np.array(series.points).T
        spread = values[np.isfinite(values)]
        low, height = spread.min(), (spread.max() - spread.min()) or abs(spread.max()) or 1.0
        axes.set_ylim(low - 0.05 * height, low + 3.2 * height)
        axes.set_xlim(times[0], times[-1])
        axes.fill_between(times, values, low - 0.05 * height, color=colour, alpha=0.25, linewidth=0)
        axes.plot(times, values, color=colour, linewidth=0.8, alpha=0.7)
    longest = max(map(len, text.split("\n")))
    size = min(19.0, 95.0 * panel["gridPos"]["w"] / 3 / max(longest, 5))
    axes.text(
        0.5, 0.56, text, transform=axes.transAxes, ha="center", va="center", color=colour, fontsize=size, weight="bold"
    )
    axes.set_axis_off()


def draw_lines(axes: Axes, panel: dict[str, Any], found: list[tuple[str, Series]], window: Window) -> None:
    """Curves over time with a legend of their latest values."""
    defaults = panel["fieldConfig"]["defaults"]
    unit, stacked = defaults.get("unit", "short"), defaults["custom"].get("stacking", {}).get("mode") == "normal"
    base: dict[float, float] = {}
    top = 0.0
    for index, (name, series) in enumerate(found):
        colour = named_colour(panel, name) or PALETTE[index % len(PALETTE)]
        under = np.array([base.get(t, 0.0) if stacked else 0.0 for t, _ in series.points])
        times, values = np.array(series.points).T
        values = values + under
        if stacked:
            base.update({t: float(v) for t, v in zip(times, values, strict=True) if math.isfinite(v)})
        top = max(top, float(np.nanmax(values, initial=0.0, where=np.isfinite(values))))
        latest = [v for _, v in series.points if math.isfinite(v)][-1]
        label = f"{name or 'value'}  {format_value(latest, unit)}"
        axes.plot(times / DAY, values, color=colour, linewidth=1.3, label=label, solid_capstyle="round")
        if stacked or defaults.get("min") == 0:
            axes.fill_between(times / DAY, under, values, color=colour, alpha=0.30 if stacked else 0.08, linewidth=0)
    if defaults.get("min") == 0:
        axes.set_ylim(0, float(defaults.get("max") or (top * 1.12 or 1)))
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is not None and step["value"] <= axes.get_ylim()[1]:
            axes.axhline(step["value"], color=COLOURS[step["color"]], linewidth=0.8, linestyle=(0, (5, 4)))
    finish_time_axis(axes, window)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_value(value, unit)))
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.12), ncols=min(3, len(found)), fontsize=6.2, frameon=False,
                labelcolor=TEXT, handlelength=1.0, handletextpad=0.5, columnspacing=1.2, borderaxespad=0)  # fmt: skip


def draw_heat(axes: Axes, panel: dict[str, Any], found: list[tuple[str, Series]], window: Window) -> None:
    """A histogram over time. The series are cumulative by `le`; each cell shows its own bucket's share."""
    unit = panel["options"].get("yAxis", {}).get("unit", "short")
    buckets = sorted(((float(series.labels["le"]), series) for _, series in found), key=lambda pair: pair[0])
    times = np.unique([t for _, series in buckets for t, _ in series.points])
    table = np.array([[dict(series.points).get(t, 0.0) for t in times] for _, series in buckets])
    counts = np.diff(np.nan_to_num(table), axis=0, prepend=0.0).clip(min=0)
    used = np.flatnonzero(counts.sum(axis=1) > 0)
    low, high = (max(0, used[0] - 1), used[-1] + 2) if len(used) else (0, len(buckets))
    shown = np.ma.masked_less_equal(counts[low:high], 0)
    edges = np.append(times, times[-1] + window.step) / DAY
    axes.pcolormesh(edges, np.arange(shown.shape[0] + 1), shown, cmap="Oranges_r", alpha=0.9)
    bounds = [le for le, _ in buckets[low:high]]
    axes.set_yticks(np.arange(len(bounds)) + 1.0)
    axes.set_yticklabels([format_value(le, unit) if math.isfinite(le) else "+Inf" for le in bounds])
    finish_time_axis(axes, window)


def finish_time_axis(axes: Axes, window: Window) -> None:
    """Clock times (UTC) below, a faint grid, no frame."""
    axes.set_xlim(window.start / DAY, window.end / DAY)
    span = window.end - window.start
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=4, maxticks=7))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S" if span < 600 else "%H:%M"))
    axes.grid(color="#2c3036", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=6, length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
