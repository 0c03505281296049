"""CSV copies of curves and per-group losses, in a form that `dvc plots show` and `dvc plots diff` can draw.

DVC reads no JSON lines, and wants one file per plot. Nothing is computed here.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from base.files import atomic_path, read_json
from pipelines.paths import Paths


def write_curves(paths: Paths) -> None:
    """`plots/loss.csv` and `plots/valid_loss.csv` out of the checkpoint's `curves.jsonl`; only head lines for weights
    that were imported, which have none."""
    curves = paths.checkpoint / "curves.jsonl"
    lines = curves.read_text(encoding="utf-8").splitlines() if curves.is_file() else []
    rows = [json.loads(line) for line in lines]
    for name in ("loss", "valid_loss"):
        found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        write_table(paths.plots / f"{name}.csv", ("step", name), found)


def write_groups(paths: Paths) -> None:
    """`plots/groups.csv`: the loss, or else the primary value, per group of the test split; only a head line for a
    recipe without groups."""
    metrics = read_json(paths.metrics)
    main = metrics["primary"]["metric"].removeprefix("test.")
    rows = sorted((name, group.get("loss", group.get(main))) for name, group in metrics.get("groups", {}).items())
    write_table(paths.plots / "groups.csv", ("group", "loss"), rows)


def write_table(path: Path, head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """A CSV file, written atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
