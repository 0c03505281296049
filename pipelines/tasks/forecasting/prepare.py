"""Rows → one array of steps [steps, channels], split by time, with the scale of each channel on the train split.

    series.npy     float32 [steps, channels], NaN: no value
    index.json     data_hash, signature, fitted scales, for each split its borders and how many windows it has

The history of a window may reach into the split before its own, as in use; its target never does. So no target of valid
or test is ever trained on, and the windows that would straddle a border, one horizon of them, are in no split.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base.errors import BadItem, MetrolineError, nearest
from base.files import atomic_folder, sha256, write_json
from base.progress import Progress
from data.fetch.fetched import fetched
from data.signature import SeriesInput, SeriesOutput, Signature
from data.split import SPLITS
from data.tables.rows import Row, read_rows
from data.times import Step, moment, places
from data.values import number

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

Series = NDArray[np.float32]


def prepare(recipe: "Recipe", raw: Path, out: Path) -> None:
    """Fill the folder `out`.

    Raises MetrolineError, which names file and row: no such column, a value that is no number, a time that is missing
    or comes twice; a split too short for one window, a channel that train has no value of.
    """
    data, task = recipe.data, recipe.task
    with atomic_folder(out) as folder, Progress("prepare", None, "rows") as progress:
        rows = list(read_rows(fetched(raw), data.rows))
        channels = _channels(rows, data.columns, str(recipe.split.by))
        series, step = to_series(rows, channels, str(recipe.split.by), fill=data.gaps == "fill")
        series = series[: data.steps or None]
        progress.update(advance=len(rows))
        splits = borders(len(series), recipe)
        train = series[: splits["train"]["end"]]
        for place, name in enumerate(channels):
            if np.isnan(train[:, place]).all():
                raise MetrolineError(f"data.columns: {name} has no value in the train split", hint="leave it out")
        std = np.nanstd(train.astype(np.float64), 0)
        fitted = {
            "mean": np.nanmean(train.astype(np.float64), 0).tolist(),
            "std": np.where(std > 1e-9, std, 1.0).tolist(),
            "season": task.season or step.season,
        }
        facts: dict[str, Any] = {
            "signature": _signature(recipe, channels, step).model_dump(mode="json"), "fitted": fitted,
            "rows": len(rows), "steps": len(series), "missing": int(np.isnan(series).sum()),
            "splits": splits,
        }  # fmt: skip
        np.save(folder / "series.npy", series)
        facts["sha256"] = sha256(folder / "series.npy")
        facts["data_hash"] = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
        write_json(folder / "index.json", facts)


def _channels(rows: Sequence[Row], columns: Sequence[str], time: str) -> tuple[str, ...]:
    """The names of the channels, checked. Raises MetrolineError: no row, no such column."""
    if not rows:
        raise MetrolineError("there is no row", hint="the first line names the columns, rows follow")
    there = rows[0].values
    for name in (time, *columns):
        if name not in there:
            raise MetrolineError(f"{rows[0].id}: no column {name!r}", hint=nearest(name, there))
    found = tuple(columns) or tuple(name for name in there if name != time)
    if not found:
        raise MetrolineError(f"{rows[0].id}: no column but the time {time}")
    return found


def to_series(rows: Sequence[Row], channels: Sequence[str], time: str, *, fill: bool) -> tuple[Series, Step]:
    """The rows by time, float32 [steps, channels], and their step. Raises MetrolineError, which names a row."""
    timed = sorted(((moment(_cell(row, time), row.id), row) for row in rows), key=lambda each: each[0])
    at, step = places([each for each, _ in timed], [row.id for _, row in timed], fill=fill)
    series = np.full((at[-1] + 1, len(channels)), np.nan, np.float32)
    for place, (_, row) in zip(at, timed, strict=True):
        series[place] = [_number(row, name) for name in channels]
    return series, step


def _cell(row: Row, name: str) -> Any:
    if name not in row.values:
        raise MetrolineError(f"{row.id}: no column {name!r}", hint=nearest(name, row.values))
    if row.values[name] is None:
        raise MetrolineError(f"{row.id}: {name} has no value", hint="each row needs its time")
    return row.values[name]


def _number(row: Row, name: str) -> float:
    try:
        return number(row.values.get(name), name)
    except BadItem as error:
        hint = "list it under data.rows.missing, or name the channels with data.columns"
        raise MetrolineError(f"{row.id}: {error}", hint=hint) from None


def borders(steps: int, recipe: "Recipe") -> dict[str, dict[str, int]]:
    """Split → where its targets begin and end, and how many windows it has. Raises MetrolineError: too few for one."""
    split, context, horizon = recipe.split, recipe.data.context, recipe.task.horizon
    test, valid = round(steps * split.test), round(steps * split.valid)
    ends = {"train": steps - test - valid, "valid": steps - test, "test": steps}
    found, begin = {}, context
    for name in SPLITS:
        windows = ends[name] - horizon + 1 - begin
        if windows < 1:
            raise MetrolineError(
                f"of {steps:,} steps, the {name} split has too few for {context:,} steps back and {horizon:,} ahead",
                hint="lower data.context or task.horizon, or raise the split's share",
            )
        found[name] = {"begin": begin, "end": ends[name], "windows": windows}
        begin = max(context, ends[name] + split.gap)
    return found


def _signature(recipe: "Recipe", channels: tuple[str, ...], step: Step) -> Signature:
    context, horizon, quantiles = recipe.data.context, recipe.task.horizon, recipe.task.quantiles
    history = SeriesInput(
        name="history", shape=(context, len(channels)), context=context, channels=channels, step=str(step)
    )
    shape = (horizon, len(channels), 1 + len(quantiles))
    forecast = SeriesOutput(name="forecast", shape=shape, channels=channels, quantiles=quantiles, step=str(step))
    return Signature(task="time-series-forecasting", inputs=(history,), outputs=(forecast,))
