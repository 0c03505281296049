"""Draw a dashboard's panels as one picture, from a real Prometheus and without Grafana.

    python -m serving.monitoring.render --prometheus http://127.0.0.1:9090 --dashboard serving --out docs/dashboard.png

It draws what Grafana's own panels of these three kinds would show (numbers, curves, heat maps) from the same
committed JSON, and nothing that Prometheus does not answer: a panel without data says so.
Not for looking at live systems: use Grafana for that. The service never imports this module (matplotlib loads slowly).
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from base.errors import MetrolineError, exit_with
from base.files import atomic_path
from serving.monitoring.drawing import BACKGROUND, MUTED, PANEL, TEXT, Window, draw_heat, draw_lines, draw_number
from serving.monitoring.promql import Prometheus, Series, load_dashboard, substitute, targets
from serving.monitoring.units import parse_duration

COLUMNS, CELL = 24, 0.31
"""Grafana's grid is 24 columns wide; a row of it is drawn CELL inches high and a column CELL × 1.75 wide."""


def curves(panel: dict[str, Any], prometheus: Prometheus, window: Window) -> list[tuple[str, Series]]:
    """All curves of a panel with their legends, those without any number left out."""
    found = []
    for target in targets(panel):
        expr = substitute(target.expr, interval=window.interval, span=f"{round(window.end - window.start)}s")
        for series in prometheus.query_range(expr, window.start, window.end, window.step):
            if any(math.isfinite(value) for _, value in series.points):
                found.append((series.name(target.legend), series))
    return found


def draw(
    board: dict[str, Any], prometheus: Prometheus, window: Window, rows: Sequence[str] | None = None
) -> plt.Figure:
    """The whole dashboard (or the rows with these titles) as one figure."""
    chosen, height = layout(board["panels"], rows)
    width_inches, height_inches = COLUMNS * CELL * 1.75, (height + 1.4) * CELL
    figure = plt.figure(figsize=(width_inches, height_inches), facecolor=BACKGROUND, dpi=110)
    unit_x, unit_y = 1 / COLUMNS, 1 / (height + 1.4)
    figure.text(0.008, 1 - 0.7 * unit_y, board["title"], color=TEXT, fontsize=12, weight="bold", va="center")
    span = " – ".join(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(t)) for t in (window.start, window.end))
    figure.text(0.992, 1 - 0.7 * unit_y, f"{span} UTC", color=MUTED, fontsize=7.5, va="center", ha="right")
    for panel, y in chosen:
        x, w, h = panel["gridPos"]["x"], panel["gridPos"]["w"], panel["gridPos"]["h"]
        left, bottom = x * unit_x, 1 - (y + h + 1.4) * unit_y
        if panel["type"] == "row":
            figure.text(left + 0.008, bottom + 0.4 * unit_y, panel["title"], color=MUTED, fontsize=8.5, va="center")
            continue
        box = (left + 0.003, bottom + 0.12 * unit_y, w * unit_x - 0.006, (h - 0.24) * unit_y)
        frame = FancyBboxPatch(
            box[:2],
            box[2],
            box[3],
            boxstyle="round,pad=0,rounding_size=0.004",
            mutation_aspect=width_inches / height_inches,
            facecolor=PANEL,
            edgecolor="#24272c",
            linewidth=0.6,
            zorder=-1,  # axes have 0
            transform=figure.transFigure,
        )
        figure.add_artist(frame)
        figure.text(
            box[0] + 0.006, box[1] + box[3] - 0.5 * unit_y, panel["title"], color=TEXT, fontsize=7.5, va="center"
        )
        draw_panel(figure, panel, box, unit_y, prometheus, window)
    return figure


def draw_panel(
    figure: plt.Figure,
    panel: dict[str, Any],
    box: tuple[float, float, float, float],
    unit_y: float,
    prometheus: Prometheus,
    window: Window,
) -> None:
    """One panel's content inside its frame. Raises MetrolineError when Prometheus refuses a query."""
    found = curves(panel, prometheus, window)
    left, bottom, width, height = box
    if not found:
        figure.text(left + width / 2, bottom + height / 2, "no data", color=MUTED, fontsize=9, ha="center", va="center")
    elif panel["type"] == "stat":
        draw_number(figure.add_axes((left, bottom, width, height - unit_y)), panel, found)
    else:
        legend = 0.9 + 0.42 * math.ceil(len(found) / 3) if panel["type"] == "timeseries" else 0.8
        inner = (left + 0.036, bottom + legend * unit_y, width - 0.045, height - (legend + 1.1) * unit_y)
        axes = figure.add_axes(inner, facecolor=PANEL)
        (draw_lines if panel["type"] == "timeseries" else draw_heat)(axes, panel, found, window)


def layout(panels: list[dict[str, Any]], rows: Sequence[str] | None) -> tuple[list[tuple[dict[str, Any], int]], int]:
    """The panels of the chosen rows with their vertical grid positions closed up, and the height of all of it."""
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    for row in rows or []:
        if row not in titles:
            raise MetrolineError(f"no row {row!r} on this dashboard", hint=f"there are: {', '.join(titles)}")
    chosen: list[tuple[dict[str, Any], int]] = []
    offset = height = 0
    wanted = True
    for panel in panels:
        y = panel["gridPos"]["y"]
        if panel["type"] == "row":
            wanted = rows is None or panel["title"] in rows
            offset = y - height
        if wanted:
            chosen.append((panel, y - offset))
            height = max(height, y - offset + panel["gridPos"]["h"])
    return chosen, height


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.monitoring.render",
        description="Draw a dashboard's panels as one picture, from a real Prometheus and without Grafana.",
    )
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL", help="default: %(default)s")
    parser.add_argument("--dashboard", default="serving", help="serving or training (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write, a .png")
    parser.add_argument(
        "--window", default="15m", help="how far back to look, as in 90s, 15m, 2h (default: %(default)s)"
    )
    parser.add_argument("--rows", nargs="+", metavar="TITLE", help="only these rows of the dashboard")
    options = parser.parse_args(arguments)
    if options.out.suffix != ".png":
        raise MetrolineError(f"--out {options.out}: not a .png")
    seconds = parse_duration(options.window)
    end = time.time()
    window = Window(end - seconds, end, max(1.0, seconds / 240))
    figure = draw(load_dashboard(options.dashboard), Prometheus(options.prometheus), window, options.rows)
    with atomic_path(options.out) as temporary:
        figure.savefig(temporary, format="png", facecolor=BACKGROUND, metadata={"Software": None})
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    exit_with(main)
