"""What the columns of a table are, found in the train split alone: numbers or categories, their values and ranges."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Literal

from base.errors import BadItem, MetrolineError, nearest
from data.signature import Column
from data.tables.rows import Row
from data.values import NOT_FINITE, NUMBER, Value, category, number

Kind = Literal["number", "category"]
CATEGORIES = 10_000
"""Most values of a category."""


def fit(rows: Iterable[Row], names: Iterable[str], kinds: Mapping[str, Kind] | None = None) -> tuple[Column, ...]:
    """The columns `names` as the rows of the train split have them. A column is numbers when each of its values is one
    (001 is not: it stays a category), unless `kinds` says what it is.

    Raises MetrolineError: a column that a row lacks, without any value, with too many categories, ±inf.
    """
    names, kinds = tuple(names), dict(kinds or {})
    for name in kinds:
        if name not in names:
            raise MetrolineError(f"there is no column {name!r}", hint=nearest(name, names))
    seen: dict[str, dict[Value, int]] = {name: Counter() for name in names}
    missing = dict.fromkeys(names, False)
    places: dict[tuple[str, Value], str] = {}
    for row in rows:
        for name in names:
            if name not in row.values:
                raise MetrolineError(f"{row.id}: no column {name!r}", hint=nearest(name, row.values))
            value = row.values[name]
            if value is None:
                missing[name] = True
                continue
            if (key := _key(value)) not in seen[name]:
                places[name, key] = row.id
            seen[name][key] = seen[name].get(key, 0) + 1
    return tuple(_column(name, kinds.get(name), seen[name], missing[name], places) for name in names)


def _key(value: Value) -> Value:
    """The value as something to count: a truth value is its word, since True equals 1."""
    return category(value) if isinstance(value, bool) else value


def _column(
    name: str, kind: Kind | None, seen: Mapping[Value, int], missing: bool, places: Mapping[tuple[str, Value], str]
) -> Column:
    if not seen:
        raise MetrolineError(f"the column {name!r} has no value in the train split", hint="leave it out")
    if kind is None:
        kind = "number" if all(_numeric(value) for value in seen) else "category"
    if kind == "number":
        values: list[float] = []
        for value, count in seen.items():
            try:
                found = number(value, name)
            except BadItem as error:
                raise MetrolineError(
                    f"{places[name, value]}: {error}", hint="mend it, list it under missing, or make it a category"
                ) from None
            missing = missing or math.isnan(found)
            values += [] if math.isnan(found) else [found] * count
        if not values:
            raise MetrolineError(f"the column {name!r} has no value in the train split", hint="leave it out")
        return Column(
            name=name, kind="number", missing=missing, example=median(values), minimum=min(values), maximum=max(values)
        )
    texts = Counter[str]()
    for value, count in seen.items():
        texts[category(value)] += count
    if len(texts) > CATEGORIES:
        raise MetrolineError(
            f"the column {name!r} has {len(texts):,} categories, more than {CATEGORIES:,}",
            hint="leave it out when it identifies rows; set its kind to number when it is one",
        )
    often = min(texts, key=lambda text: (-texts[text], text))
    return Column(name=name, kind="category", categories=tuple(sorted(texts)), missing=missing, example=often)


def _numeric(value: Value) -> bool:
    if isinstance(value, str):
        return bool(NUMBER.fullmatch(value) or NOT_FINITE.fullmatch(value))
    return not isinstance(value, bool)
