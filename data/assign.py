"""Which split each record goes to, by the method of the recipe's section `split` (data/split.py)."""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from base.errors import MetrolineError, nearest
from data.split import SPLITS, SplitConfig, by_hash

LEFT_OUT = ""
"""The split of a record in a gap: none."""
WORD = re.compile(r"(?<![a-z])(train|valid|val|dev|test)(ing|ation)?(?![a-z])", re.IGNORECASE)
NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}


@dataclass(frozen=True, slots=True)
class Item:
    """What splitting needs to know of a record."""

    id: str
    """Its file, or file:line."""
    digest: str
    """Of its raw inputs: equal inputs have equal ones."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Columns or notes by name, among them the one that `split` names."""


def digest(*raw: bytes) -> str:
    """SHA-256 of a record's raw inputs."""
    found = hashlib.sha256()
    for part in raw:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def assign(items: Sequence[Item], config: SplitConfig) -> list[str]:
    """The split of each item in reading order; "" for those in a gap. The same whatever else is there under `hash`,
    `group` and `given`.

    Raises MetrolineError: no such column, a time that is none, a split that stays empty.
    """
    methods: dict[str, Callable[[Sequence[Item], SplitConfig], list[str]]] = {
        "hash": lambda items, config: [by_hash(item.digest, config) for item in items],
        "tail": _tail,
        "group": lambda items, config: [by_hash(str(_value(item, config.group)), config) for item in items],
        "time": _time,
        "given": _given,
    }
    splits = methods[config.method](items, config)
    _refuse_empty(splits, config)
    return splits


def _value(item: Item, name: str | None) -> Any:
    """The value of a column. MetrolineError: there is none."""
    if name not in item.meta:
        raise MetrolineError(f"{item.id}: no column {name!r} to split by", hint=nearest(str(name), item.meta))
    if item.meta[name] is None:
        raise MetrolineError(f"{item.id}: {name} has no value to split by", hint="drop the row, or split otherwise")
    return item.meta[name]


def _tail(items: Sequence[Item], config: SplitConfig) -> list[str]:
    """test | train | valid in reading order, as of documents."""
    test, valid = int(len(items) * config.test), int(len(items) * (1 - config.valid))
    return ["test" if place < test else "train" if place < valid else "valid" for place in range(len(items))]


def _time(items: Sequence[Item], config: SplitConfig) -> list[str]:
    """train | gap | valid | gap | test by time; records of one time share a split, and a gap counts times."""
    times = [_moment(item, config.by) for item in items]
    steps = sorted(set(times))
    counts = dict.fromkeys(steps, 0)
    for time in times:
        counts[time] += 1
    splits: dict[Any, str] = {}
    before = 0
    for step in steps:
        share = before / len(items)  # of the records that are older
        newest = 1 - config.test
        splits[step] = "train" if share < newest - config.valid else "valid" if share < newest else "test"
        before += counts[step]
    for left, right in zip(range(len(steps) - 1), range(1, len(steps)), strict=True):
        if splits[steps[left]] != splits[steps[right]]:
            splits |= dict.fromkeys(steps[max(0, left + 1 - config.gap) : left + 1], LEFT_OUT)
    return [splits[time] for time in times]


def _moment(item: Item, name: str | None) -> float:
    """The time of an item as a number; a date without a zone is UTC's."""
    value = _value(item, name)
    try:
        time = float(value)
    except (ValueError, OverflowError):
        try:
            date = datetime.fromisoformat(str(value).strip())
            time = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            time = math.nan
    if not math.isfinite(time):
        raise MetrolineError(
            f"{item.id}: {name} {value!r} is no time", hint="write numbers or ISO 8601, such as 2016-07-01 13:00"
        )
    return time


def _given(items: Sequence[Item], config: SplitConfig) -> list[str]:
    """The split that a column or the file's path tells."""
    patterns: dict[str, re.Pattern[str]] = {split: re.compile(pattern) for split, pattern in config.given.items()}
    splits: list[str] = []
    for item in items:
        text = item.id if config.by is None else str(_value(item, config.by))
        found: set[str] = {split for split, pattern in patterns.items() if pattern.search(text)}
        if not patterns:
            found = {NAMES[match[1].lower()] for match in WORD.finditer(text)}
        elif not found and "train" not in patterns:
            found = {"train"}
        if len(found) != 1:
            what = "no split" if not found else " and ".join(sorted(found))
            raise MetrolineError(f"{item.id}: {text!r} tells {what}", hint="say with split.given what tells which")
        splits.append(found.pop())
    if "valid" not in splits and config.valid > 0:
        carved = SplitConfig(valid=config.valid, test=0, salt=config.salt)
        for place, item in enumerate(items):
            if splits[place] == "train":
                key = item.digest if config.group is None else str(_value(item, config.group))
                splits[place] = by_hash(key, carved)
    return splits


def _refuse_empty(splits: Sequence[str], config: SplitConfig) -> None:
    shares = {"train": 1.0, "valid": config.valid, "test": 1.0 if config.method == "given" else config.test}
    if empty := [split for split in SPLITS if shares[split] > 0 and split not in splits]:
        hint = {
            "group": f"there are too few values of {config.group}: name some with split.method: given",
            "time": "there are too few times: lower split.gap, or raise the shares of split",
            "given": "say with split.given what tells it",
        }.get(config.method, "add records, or raise the shares of split")
        raise MetrolineError(f"none of {len(splits):,} records falls into {' and '.join(empty)}", hint=hint)
