"""`metroline collect NAME`: what the endpoint kept, joined into rows that a recipe can learn from, tracked by DVC.

    metroline collect digits --from feedback/      # data/collected/digits/rows.jsonl, and its .dvc

A row is a sampled input with its truth: feedback's `label`, else its `correction`. The latest feedback counts, and only
that of the caller who had asked. What was said of requests that were not sampled has no input, and is counted but not
collected.
"""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.children import python
from base.errors import MetrolineError
from base.files import atomic_path
from base.segments import read
from pipelines.recipe.load import load
from pipelines.recipe.schema import Recipe

Key = tuple[str, int, str]
"""Request id, item, caller."""


@dataclass
class Collected:
    """What came out. `without`: why a sample or a piece of feedback became no row → how many."""

    path: Path
    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    without: Counter[str] = field(default_factory=Counter)


def folder_of(given: Path | None) -> Path:
    """Where the endpoint keeps its records: the option, else METROLINE_FEEDBACK. Raises MetrolineError: no such."""
    folder = given or (Path(named) if (named := os.environ.get("METROLINE_FEEDBACK")) else None)
    if folder is None:
        raise MetrolineError("where are the endpoint's records?", hint="--from FOLDER, or METROLINE_FEEDBACK=FOLDER")
    if not folder.is_dir():
        raise MetrolineError(f"there is no folder {folder}", hint="the endpoint's METROLINE_FEEDBACK")
    return folder


def collect(name: str, folder: Path, root: Path) -> Collected:
    """Write the rows, equal records equal bytes. Raises MetrolineError: a recipe whose data is no rows, no row."""
    recipe = load(name, root)
    samples, truths, found = _records(name, folder)
    found.path = root / "data/collected" / name / "rows.jsonl"
    lines = []
    for key in sorted(samples):
        if key not in truths:
            found.without["sampled, without a truth"] += 1
            continue
        row = _row(recipe, samples[key], truths[key])
        found.labels[str(truths[key])] += 1
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    found.without["feedback on what was not sampled"] = len(truths.keys() - samples.keys())
    found.rows = len(lines)
    if not lines:
        why = ", ".join(f"{count} {what}" for what, count in found.without.items() if count) or "there are no records"
        raise MetrolineError(f"nothing to collect for {name} in {folder}: {why}", hint="METROLINE_SAMPLE above 0")
    found.path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(found.path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    return found


def track(path: Path, root: Path) -> None:
    """Have DVC track the file. Raises MetrolineError where it cannot."""
    done = subprocess.run(python("dvc", "add", "--quiet", str(path)), cwd=root, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split()).removeprefix("ERROR: ")
        raise MetrolineError(f"DVC does not track {path}: {said}")


def _records(name: str, folder: Path) -> tuple[dict[Key, Any], dict[Key, Any], Collected]:
    """(input of each sampled item, truth of each item, counts), by request id, item and caller."""
    samples: dict[Key, Any] = {}
    truths: dict[Key, Any] = {}
    times: dict[Key, float] = {}
    found = Collected(folder)
    for data in read(folder):
        record = json.loads(data)
        if record.get("model") != name:
            continue
        name_of, kind = record.get("id"), record.get("kind")
        caller, time = str(record.get("caller", "")), float(record.get("time") or 0.0)
        if name_of is None or kind is None:
            found.without["records whose id or kind was redacted"] += 1
        elif kind == "sample":
            samples |= {(name_of, item, caller): value for item, value in enumerate(record.get("inputs") or ())}
        elif (truth := record.get("label", record.get("correction"))) is not None:
            key = name_of, record.get("item", 0), caller
            if time >= times.get(key, time):  # workers have segments of their own, which overlap in time
                truths[key], times[key] = truth, time
        else:
            found.without["feedback without a label or correction"] += 1
    return samples, truths, found


def _row(recipe: Recipe, value: Any, truth: Any) -> dict[str, Any]:
    """An input and its truth as the recipe's data has them. Raises MetrolineError for data of another kind."""
    kind, target = getattr(recipe.data, "kind", None), getattr(recipe.data, "target", None)
    if kind == "table" and isinstance(value, dict):
        return {**value, target: truth}
    if kind == "text" and isinstance(value, str):
        return {recipe.data.text: value, target: truth}
    raise MetrolineError(f"{recipe.name}: rows are collected of tables and labelled texts, not of {kind or 'text'}")
