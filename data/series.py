"""Series and vectors, as a client sends them (JSON) → float32, and forecasts by name. Prepare and serving use both."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import BadItem
from data.signature import SeriesInput, SeriesOutput, VectorInput
from data.values import from_json, number, shown


def decode_series(input_: SeriesInput, raw: Any) -> npt.NDArray[np.float32]:
    """Steps, oldest first, each a number or a row of one number a channel (or the JSON's bytes) → float32 [context,
    channels], NaN for null. Of a longer history the newest `context` steps are taken.

    Raises BadItem: a shorter history, a row of another length, what is no number, ±inf, a channel without any value.
    """
    steps = _list(input_.name, raw)
    if len(steps) < input_.context:
        raise BadItem(f"{input_.name}: {len(steps):,} steps, and the model looks back {input_.context:,}")
    channels, first = len(input_.channels), len(steps) - input_.context
    found = np.empty((input_.context, channels), np.float32)
    for place, step in enumerate(steps[first:]):
        where = f"{input_.name}[{first + place}]"
        row = step if isinstance(step, list | tuple) else [step]
        if len(row) != channels:
            raise BadItem(
                f"{where}: {len(row):,} numbers for {channels:,} channels", hint=", ".join(input_.channels[:9])
            )
        found[place] = [_number(value, f"{where}.{name}") for value, name in zip(row, input_.channels, strict=True)]
    if (empty := np.isnan(found).all(0)).any():
        name = input_.channels[int(empty.argmax())]
        raise BadItem(f"{input_.name}: no value of {name} in the newest {input_.context:,} steps")
    return found


def levels(output: SeriesOutput) -> list[str]:
    """The names of what is forecast of each step: `mean`, then the quantiles as they are written."""
    return ["mean", *(f"{each:g}" for each in output.quantiles)]


def by_channel(output: SeriesOutput, array: npt.NDArray[Any]) -> dict[str, dict[str, list[float]]]:
    """A forecast [horizon, channels, levels] → channel → level → its numbers, the next step first."""
    return {
        channel: {level: array[:, i, j].tolist() for j, level in enumerate(levels(output))}
        for i, channel in enumerate(output.channels)
    }


def from_channels(output: SeriesOutput, answer: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """The array of what `by_channel` makes. Raises KeyError, TypeError, ValueError: it is something else."""
    columns = [[answer[channel][level] for level in levels(output)] for channel in output.channels]
    return np.asarray(columns, np.float64).transpose(2, 0, 1)


def decode_vector(input_: VectorInput, raw: Any) -> npt.NDArray[np.float32]:
    """A list of numbers (or the JSON's bytes) → float32 [n]. Raises BadItem: another length, what is no number, null,
    ±inf.
    """
    values = _list(input_.name, raw)
    length = input_.shape[0] if input_.shape and input_.shape[0] >= 0 else len(input_.names) or len(values)
    if len(values) != length:
        raise BadItem(f"{input_.name}: {len(values):,} numbers instead of {length:,}")
    found = np.array([_number(value, f"{input_.name}[{place}]") for place, value in enumerate(values)], np.float32)
    if np.isnan(found).any():
        raise BadItem(f"{input_.name}[{int(np.isnan(found).argmax())}]: a number is needed")
    return found


def _list(name: str, raw: Any) -> list[Any]:
    values = from_json(raw) if isinstance(raw, bytes) else raw
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple) or not values:
        raise BadItem(f"{name}: a list of numbers is needed, not {shown(values)}")
    return list(values)


def _number(value: Any, where: str) -> float:
    if isinstance(value, str):
        raise BadItem(f"{where}: {shown(value)} is not a number")
    return number(value, where)
