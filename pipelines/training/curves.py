"""The picture of a run: training and validation loss over steps. Equal curves give equal bytes."""

import json
from pathlib import Path
from typing import Any


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The lines of a curves.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(lines: list[dict[str, Any]], path: Path, title: str, unit: str) -> None:
    """Write a PNG of `loss` and `valid_loss` (in `unit`) over `step`, and of the learning rate below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for key, label, style in (("loss", "training", "-"), ("valid_loss", "validation", "o-")):
        points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        if points:
            loss.plot(*zip(*points, strict=True), style, label=label, linewidth=1.5, markersize=4)
    loss.set_title(title)
    loss.set_ylabel(f"loss ({unit})")
    loss.grid(alpha=0.3)
    loss.legend()
    rate.plot([line["step"] for line in lines], [line["lr"] for line in lines], linewidth=1)
    rate.set_xlabel("step")
    rate.set_ylabel("rate")
    rate.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", metadata={"Software": None})  # no version, no date
