"""What must not be on two sides of a split, or the test would flatter: refused with the offending items named."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from base.errors import MetrolineError, nearest
from data.assign import LEFT_OUT, Item
from data.split import SplitConfig

LEARNT_FIRST = ("train", "valid", "test")
FEW = 20
"""Records below which a column may stand for the labels by chance."""


def drop_duplicates(items: Sequence[Item], splits: Sequence[str], config: SplitConfig) -> list[str]:
    """The splits without records whose inputs are also in another one: with `duplicates: drop` those of train (and of
    valid, where test has them) get "". Raises MetrolineError with `stop`, naming the first pair.
    """
    last: dict[str, int] = {}
    for place, (item, split) in enumerate(zip(items, splits, strict=True)):
        if split != LEFT_OUT:
            best = last.setdefault(item.digest, place)
            if LEARNT_FIRST.index(split) > LEARNT_FIRST.index(splits[best]):
                last[item.digest] = place
    kept, pairs = list(splits), []
    for place, item in enumerate(items):
        if splits[place] != LEFT_OUT and splits[place] != splits[other := last[item.digest]]:
            pairs.append((item.id, items[other].id))
            kept[place] = LEFT_OUT
    if pairs and config.duplicates == "stop":
        one, other_ = pairs[0]
        raise MetrolineError(
            f"{len(pairs):,} records are in two splits, such as {one} and {other_}, whose inputs are equal",
            hint="split.duplicates: drop leaves them out of train; keep says that equal inputs are no leak here",
        )
    return list(splits) if config.duplicates == "keep" else kept


def refuse_split_groups(items: Sequence[Item], splits: Sequence[str], config: SplitConfig) -> None:
    """Raise MetrolineError when `split.group` is set and one of its values is on two sides, naming it and two items."""
    if config.group is None:
        return
    first: dict[Any, int] = {}
    for place, (item, split) in enumerate(zip(items, splits, strict=True)):
        if split == LEFT_OUT:
            continue
        if config.group not in item.meta:
            hint = nearest(config.group, item.meta)
            raise MetrolineError(f"{item.id}: no column {config.group!r}, which split.group names", hint=hint)
        other = first.setdefault(item.meta[config.group], place)
        if splits[other] != split:
            raise MetrolineError(
                f"{config.group} {item.meta[config.group]!r} is in {splits[other]} ({items[other].id}) and in {split} "
                f"({item.id})",
                hint="split.method: group keeps groups together",
            )


def refuse_unseen_labels(items: Sequence[Item], splits: Sequence[str], labels: Sequence[str]) -> None:
    """Raise MetrolineError when valid or test has a label that train has not: it could never be right."""
    seen = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    for item, split, label in zip(items, splits, labels, strict=True):
        if split != LEFT_OUT and label not in seen:
            count = sum(1 for other, where in zip(labels, splits, strict=True) if other == label and where != LEFT_OUT)
            raise MetrolineError(
                f"the label {label!r} is in {split} only ({item.id}; {count:,} records): no train record has it",
                hint="leave it out, add records of it, or split otherwise",
            )


def refuse_copies_of_the_target(columns: Mapping[str, Sequence[Any]], target: Sequence[Any]) -> None:
    """Raise MetrolineError when a column tells the target: it is equal to it, or each of its values stands for one
    label and each label for one of its values. `columns` and `target`: values of the train split.
    """
    labels = set(target)
    chance = len(target) < FEW or len(labels) > len(target) // 2  # few rows, or a key of a target that is a number
    for name, values in columns.items():
        same = all(str(value) == str(label) for value, label in zip(values, target, strict=True))
        pairs = set(zip(values, target, strict=True))
        if len(labels) > 1 and (same or (not chance and len(pairs) == len(labels) == len(set(values)))):
            raise MetrolineError(
                f"the column {name!r} tells the target: {_shown(pairs)}",
                hint=f"leave it out: data.drop of a recipe, --drop {name} of metroline init",
            )


def _shown(pairs: Iterable[tuple[Any, Any]]) -> str:
    some = sorted(pairs, key=str)[:2]
    return ", ".join(f"{value!r} is always {label!r}" for value, label in some)
