"""Losses per group of documents, such as the decade of a speech: where the model is weak, and what drift looks like."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError, nearest
from data.fetch.names import one_line

Row = dict[str, Any]
LONGEST = 20  # characters of a group's name under its bar


def group_names(documents: Iterable[Mapping[str, Any]], group_by: str) -> list[str]:
    """The group of each document: its meta `group_by`, as text. Raises MetrolineError where it has none."""
    names = []
    for document in documents:
        meta = document["meta"]
        if meta.get(group_by) is None:
            hint = nearest(group_by, sorted(meta), "its meta has")
            raise MetrolineError(f"evaluate.group_by: document {document['id']} has no {group_by!r}", hint=hint)
        names.append(str(meta[group_by]))
    return names


def group_losses(
    nats: NDArray[np.float32],
    offsets: NDArray[np.int64],
    documents: Iterable[Mapping[str, Any]],
    names: list[str],
    given: int = 0,
) -> list[Row]:
    """One row a group, sorted: {"group", "documents", "tokens", "bytes", "loss", "bits_per_byte"}.

    nats: [tokens] of the split; offsets: [documents + 1] where documents begin; given: tokens before each one's text,
    whose nats are 0 and which do not count.
    """
    sums = np.add.reduceat(nats.astype(np.float64), offsets[:-1]) if len(names) else np.empty(0)
    totals: dict[str, list[float]] = {}
    for index, (document, name) in enumerate(zip(documents, names, strict=True)):
        total = totals.setdefault(name, [0, 0, 0, 0.0])
        total[0] += 1
        total[1] += int(offsets[index + 1] - offsets[index]) - given
        total[2] += int(document["bytes"])
        total[3] += float(sums[index])
    return [
        {
            "group": name,
            "documents": count,
            "tokens": tokens,
            "bytes": size,
            "loss": loss / tokens,
            "bits_per_byte": loss / np.log(2) / size,
        }
        for name, (count, tokens, size, loss) in sorted(totals.items())
    ]


def plot(rows: list[Row], overall: float, title: str, path: Path) -> None:
    """A bar of bits per byte for each group, with a line at the whole split's. Equal input gives equal bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(rows)), [row["bits_per_byte"] for row in rows], color="#4878a8")
    axes.axhline(overall, color="#b04040", linewidth=1, label=f"whole test split: {overall:.3f}")
    axes.set(title=title, ylabel="bits per byte")
    names = [one_line(row["group"])[:LONGEST] for row in rows]
    axes.set_xticks(range(len(rows)), names, rotation=60, parse_math=False)  # a group may be called $x
    axes.title.set_parse_math(False)
    axes.legend(loc="best", framealpha=1)
    figure.savefig(path, dpi=110, metadata={"Software": None})
