"""A row of a table, as a client sends it → float32 [columns]. Prepare and serving both use this one function."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import BadItem, nearest
from data.signature import Column, TableInput
from data.values import Value, category, from_json, number, shown


def decode_row(input_: TableInput, raw: Any) -> npt.NDArray[np.float32]:
    """A JSON object (or its bytes) → float32 [columns]. Numbers as they are (also as text: "3.5"), NaN for null where
    the train split had gaps; categories as 1 + their place, 0 for an unseen value or null.

    Raises BadItem: not an object, a key that is missing or unknown, no number, ±inf.
    """
    row = from_json(raw) if isinstance(raw, bytes) else raw
    if not isinstance(row, Mapping):
        raise BadItem(f"{input_.name}: a row is a JSON object {{column: value}}, not {shown(row)}")
    columns = input_.columns
    names = dict.fromkeys(column.name for column in columns)
    if absent := [name for name in names if name not in row]:
        close = nearest(absent[0], [str(name) for name in islice(row, 4 * len(names)) if name not in names])
        more = f" and {len(absent) - 1:,} more" if len(absent) > 1 else ""
        hint = close if close.startswith("did you") else "null says that there is no value"
        raise BadItem(f"{input_.name}: no value for {shown(absent[0])}{more}", hint=hint)
    if len(row) > len(names):
        unknown = next(name for name in row if name not in names)
        raise BadItem(f"{input_.name}: unknown column {shown(unknown)}", hint=nearest(str(unknown), names))
    return np.array([_number(column, row[column.name]) for column in columns], np.float32)


def _number(column: Column, value: Any) -> float:
    if isinstance(value, list | dict):
        raise BadItem(f"{column.name}: {shown(value)} is no single value")
    if column.kind == "category":
        known = value not in (None, "") and category(value) in column.categories
        return 1.0 + column.categories.index(category(value)) if known else 0.0
    found = number(None if value == "" else value, column.name)
    if found != found and not column.missing:
        raise BadItem(f"{column.name}: a value is needed: no row of the train split lacks it")
    return found


def plain_row(columns: tuple[Column, ...], values: Mapping[str, Value]) -> dict[str, Value]:
    """A row of a file as a client would send it: only these columns, numbers as numbers, gaps as null. What is no
    number stays as it is, for `decode_row` to refuse.
    """
    row: dict[str, Value] = {}
    for column in columns:
        value = values.get(column.name)
        if column.kind == "category" and value is not None:
            value = category(value)
        elif isinstance(value, str):
            try:
                found = number(value, column.name)
                value = None if found != found else int(found) if found.is_integer() and "." not in value else found
            except BadItem:
                pass
        row[column.name] = value
    return row
