"""stats.json as a picture: document lengths, reasons of drops, frequent tokens. Equal stats give equal bytes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

TOP = 25  # tokens shown
COLOUR = "#3b6ea5"


def draw(stats: dict[str, Any], path: Path) -> None:
    """Write stats.png from the content of stats.json."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context("default"):  # not the user's own settings: bytes must not depend on them
        figure = Figure(figsize=(13, 5), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        lengths, drops, tokens = figure.subplots(1, 3)
        for axes in (lengths, drops, tokens):
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_major_formatter("{x:,.0f}")
        _lengths(lengths, stats["tokens_per_document"])
        _drops(drops, stats["documents"])
        _tokens(tokens, stats["top_tokens"][:TOP])
        figure.savefig(path, metadata={"Software": None})


def _lengths(axes: Any, histogram: dict[str, list[int]]) -> None:
    edges, counts = histogram["edges"], histogram["counts"]
    shown = [place for place, count in enumerate(counts) if count]
    span = slice(shown[0], shown[-1] + 1)
    labels = [f"{begin:,}–{end - 1:,}" if end - 1 > begin else f"{begin:,}" for begin, end in pairwise(edges)]
    _bars(axes, labels[span], counts[span], COLOUR)
    axes.set(title="Document lengths in tokens", xlabel="documents")


def _drops(axes: Any, documents: dict[str, Any]) -> None:
    bars = {"kept": documents["kept"], **documents["dropped"]}
    colours = [COLOUR] + ["#c8553d"] * len(documents["dropped"])
    _bars(axes, [name.replace("_", " ") for name in bars], list(bars.values()), colours)
    axes.set(title=f"{documents['read']:,} documents read", xlabel="documents")


def _bars(axes: Any, labels: list[str], values: list[int], colour: str | list[str]) -> None:
    """Horizontal bars from the top, each with its value, none thicker than an eighth of the height."""
    places = range(len(labels))
    axes.bar_label(axes.barh(places, values, color=colour), labels=[f"{value:,}" for value in values], padding=3)
    axes.set_yticks(places, labels)
    axes.set_ylim(max(len(labels), 8) - 0.5, -0.5)
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=4)


def _tokens(axes: Any, top: list[dict[str, Any]]) -> None:
    places = range(len(top))
    axes.barh(places, [entry["count"] for entry in top], color=COLOUR)
    axes.set_yticks(places, [_printable(entry["text"]) for entry in top], fontsize=9, family="monospace")
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a token may be a dollar sign
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=4)
    axes.set(title="Most frequent tokens (train)", xlabel="occurrences")


def _printable(text: str) -> str:
    """A token in quotes, with escapes for what the font lacks (anything past Latin) or the eye misses."""
    shown = repr(text)
    return "".join(char if ord(char) < 0x250 else char.encode("unicode_escape").decode() for char in shown)
