"""What the user's own data is and which task it suits: text, documents, tables, series, images, masks, boxes, clips."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from base.errors import MetrolineError
from data.fetch import own_files as own
from data.folders import AUDIO, IMAGES
from data.tables.config import SUFFIXES as ROWS
from pipelines.recipe.own import audio, boxes, documents, images, masks, series, speech, tables, text
from pipelines.recipe.own.columns import first_row, rows_config
from pipelines.recipe.own.found import Found

TaskName = Literal[
    "classification", "regression", "forecasting", "segmentation", "detection", "transcription", "language-modelling",
    "index",
]  # fmt: skip
EVERY = tuple(dict.fromkeys((*own.SUFFIXES, *ROWS, *IMAGES, *AUDIO)))

WAYS = {
    "image": "--task classification takes images in folders by class",
    "audio file": "--task classification takes clips in folders by class",
    "table": "--target COLUMN a table",
    "text file": "--task language-modelling the text",
}
"""What says which kind of files is meant."""


def look(
    data: Path,
    name: str,
    target: str | None,
    task: TaskName | None,
    drop: Sequence[str] = (),
    encoding: str | None = None,
) -> Found:
    """See the module. `encoding`: of a table's text, None: UTF-8. Raises MetrolineError, one line: nothing there that
    counts, or it may be several things."""
    if task == "index":
        if target is not None or drop or encoding:
            raise MetrolineError("--task index has no --target, no --drop and no --encoding")
        return documents.look(data, name)
    if task == "language-modelling":
        if target is not None or drop or encoding:
            raise MetrolineError("--task language-modelling has no --target, no --drop and no --encoding")
        return text.look(data, name)
    if task == "forecasting":
        if target is None:
            raise _no_target(own.own_files(data, "**/*", name=name, suffixes=ROWS), data, task)
        if drop:
            raise MetrolineError("--task forecasting has no --drop: it sees the target alone")
        return series.look(data, name, target, encoding or "utf-8")
    if task in (by_name := {"segmentation": masks, "detection": boxes, "transcription": speech}):
        if target is not None or drop or encoding:
            raise MetrolineError(f"--task {task} has no --target, no --drop and no --encoding")
        return by_name[task].look(data, name)
    if target is not None:
        return tables.look(data, name, target, task, drop, encoding or "utf-8")
    if encoding:
        raise MetrolineError("--encoding is of the text of a table", hint="name its --target COLUMN too")
    if drop:
        raise MetrolineError("--drop leaves out columns of a table", hint="name its --target COLUMN too")
    there = _files(data, name)
    kinds = {
        "image": _of(there, IMAGES),
        "audio file": _of(there, AUDIO),
        "table": _of(there, tuple(set(ROWS) - set(own.SUFFIXES))),
        "text file": _of(there, own.SUFFIXES),
    }
    if task is None and kinds["audio file"] and not kinds["image"] and speech.has_texts(kinds["audio file"]):
        return speech.look(data, name)
    media = [kind for kind in ("image", "audio file") if kinds[kind]]
    if len(media) == 1 and (task == "classification" or not (kinds["table"] or kinds["text file"])):
        if task == "regression":
            raise MetrolineError(f"{data}: a regression's target is a number, which the paths of files do not tell")
        if media == ["image"] and task is None and masks.has_masks([there.name(file) for file in kinds["image"]]):
            return masks.look(data, name)
        if media == ["image"] and task is None and boxes.has_boxes(data):
            return boxes.look(data, name)
        return (images if media == ["image"] else audio).look(data, name)
    if media:
        counts = ", ".join(f"{len(files):,} {kind}{'s' * (len(files) != 1)}" for kind, files in kinds.items() if files)
        hint = ", ".join(way for kind, way in WAYS.items() if kinds[kind])
        raise MetrolineError(f"{data}: {counts}: which of them is meant?", hint=hint)
    if task is None and kinds["text file"]:
        return _text_or_table(data, name, replace(there, files=kinds["text file"]))
    raise _no_target(replace(there, files=_of(there, ROWS)), data, task)


def _files(data: Path, name: str) -> own.OwnFiles:
    """What may be learnt from. Raises MetrolineError: there is none, maybe documents that can only be searched."""
    try:
        return own.own_files(data, "**/*", name=name, suffixes=EVERY)
    except MetrolineError as error:
        try:
            there = documents.look(data, name).own
        except MetrolineError:
            raise error from None
    raise MetrolineError(f"{data}: documents: {there.summary()}", hint="to be searched and cited: --task index")


def _of(there: own.OwnFiles, suffixes: tuple[str, ...]) -> list[Path]:
    return [file for file in there.files if own.has_suffix(file.name, suffixes)]


def _text_or_table(data: Path, name: str, there: own.OwnFiles) -> Found:
    """A language model, unless the rows of .jsonl and .parquet files can be read and none has a column `text`."""
    others: set[str] = set()
    for file in there.files:
        if not own.has_suffix(file.name, ROWS):
            return text.look(data, name)
        with suppress(MetrolineError):  # damaged, or rows that are no table: prepare says so
            others |= first_row(own.OwnFiles(file, [file], there.left_out)).values.keys()
    if others and "text" not in others:
        raise _no_target(there, data, None)
    more = f"; for {', '.join(sorted(others - {'text'})[:6])} see --target" if others - {"text"} else ""
    return text.look(data, name, f"language modelling of the column text{more}" if others else "")


def _no_target(there: own.OwnFiles, data: Path, task: str | None) -> MetrolineError:
    """The line that lists the columns."""
    if not there.files:
        return MetrolineError(
            f"{data}: no table, no image and no clip for --task {task}", hint=f"there must be {', '.join(ROWS)}"
        )
    names = list(first_row(there, rows_config(there)).values)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")
    return MetrolineError(f"{data}: a table of {shown}", hint="say which one to predict: --target COLUMN")
