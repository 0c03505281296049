"""The rows of own tables in one pass: their columns, as far as a recipe needs to know them, and the target's values."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from base.errors import BadItem, MetrolineError, nearest
from data.fetch.own_files import OwnFiles
from data.tables.config import RowsConfig
from data.tables.rows import Row, read_rows
from data.values import Value, number

SAMPLE = 20_000
"""Rows whose columns are kept; of the others the target alone is counted."""
GAPS = frozenset({"?", "-", "NA", "N/A", "n/a", "na", "NULL", "null", "None", "none", "nan", "NaN", "#N/A"})
"""What tables write where a number is missing."""
ENOUGH = 20
"""Rows from which on a column may be said to tell rows apart."""
DELIMITERS = (";", "\t", "|")


@dataclass
class Seen:
    """What the rows hold. `columns`: values of the first rows by column, without gaps' texts; the target among them."""

    config: RowsConfig
    columns: dict[str, list[Value]]
    rows: int = 0
    targets: Counter[Value] = field(default_factory=Counter)
    """How often the target has each value; None: it has none."""


def first_row(own: OwnFiles, config: RowsConfig | None = None) -> Row:
    """The first row of all. Raises MetrolineError: there is none."""
    row = next(read_rows(_files(own), config or RowsConfig()), None)
    if row is None:
        raise MetrolineError(f"{own.root}: no row of values", hint="the first line names the columns, rows follow")
    return row


def rows_config(own: OwnFiles, encoding: str = "utf-8") -> RowsConfig:
    """How the files are read: with the delimiter that stands in a line of names which the usual one leaves whole.

    Raises MetrolineError: an encoding that Python does not know.
    """
    try:
        config = RowsConfig(encoding=encoding)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise MetrolineError(f"--encoding {encoding}: {why}") from None
    names = list(first_row(own, config).values)
    if len(names) == 1:
        for delimiter in DELIMITERS:
            if delimiter in names[0]:
                return config.model_copy(update={"delimiter": delimiter})
    return config


def scan(own: OwnFiles, target: str, encoding: str = "utf-8") -> Seen:
    """All rows. Raises MetrolineError, which names file and row: no row, no such column, another column than before."""
    config = rows_config(own, encoding)
    names = list(first_row(own, config).values)
    if target not in names:
        raise MetrolineError(f"{own.root}: no column {target!r}", hint=nearest(target, names[:40]))
    seen = Seen(config, {name: [] for name in names})
    for row in read_rows(_files(own), config):
        if row.values.keys() != seen.columns.keys():
            raise _other_columns(row, names)
        seen.rows += 1
        seen.targets[row.values[target]] += 1
        if seen.rows <= SAMPLE:
            for name, value in row.values.items():
                seen.columns[name].append(value)
    return _without_gaps(seen, target)


def numeric(value: Value) -> bool:
    """Whether it is a number, also as text; NaN is none."""
    try:
        return not isinstance(value, bool) and not math.isnan(number(value, ""))
    except BadItem:
        return False


def _files(own: OwnFiles) -> Mapping[str, Path]:
    return {str(own.name(file)): file for file in own.files}


def _other_columns(row: Row, names: Sequence[str]) -> MetrolineError:
    absent = next((name for name in names if name not in row.values), None)
    if absent is not None:
        return MetrolineError(f"{row.id}: no column {absent!r}, which the first row has", hint="all rows need it")
    more = next(name for name in row.values if name not in names)
    return MetrolineError(f"{row.id}: a column {more!r}, which the first row has not", hint="all rows need it")


def _gaps(values: Sequence[Value]) -> Iterator[str]:
    """The texts of a column of numbers that mean that there is none."""
    others = {value for value in values if value is not None and not numeric(value)}
    texts = {value for value in others if isinstance(value, str)}
    if others and others == texts and texts <= GAPS and any(numeric(value) for value in values):
        yield from texts


def _without_gaps(seen: Seen, target: str) -> Seen:
    gaps = {text for values in seen.columns.values() for text in _gaps(values)}
    if not gaps:
        return seen
    columns = {name: [None if value in gaps else value for value in values] for name, values in seen.columns.items()}
    targets = Counter[Value]()
    for value, count in seen.targets.items():
        targets[None if value in gaps else value] += count
    config = seen.config.model_copy(update={"missing": tuple(sorted(gaps))})
    return Seen(config, columns, seen.rows, targets)
