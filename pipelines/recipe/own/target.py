"""What the target of own tables is for: classes, or numbers."""

import re
from collections import Counter

from base.errors import MetrolineError
from base.yaml_files import quoted
from data.values import category
from pipelines.recipe.own.columns import ENOUGH, Seen, numeric
from pipelines.recipe.own.found import shown_counts

CLASSES = 20
"""Whole numbers of at most so many values, each in five rows or more, are classes."""
NUMBERS = 100
"""Whole numbers of more values than this are numbers; between the two it may be either."""


def task_of(seen: Seen, target: str, task: str | None) -> str:
    """What the target's values are for."""
    there = {value: count for value, count in seen.targets.items() if value is not None}
    numbers = all(numeric(value) for value in there)
    if len({category(value) for value in there}) < 2:
        only = f"one value only: {category(next(iter(there)))}" if there else "no value"
        raise MetrolineError(f"the target {target} has {only}", hint="there is nothing to learn; name another --target")
    if task == "regression" and not numbers:
        odd = next(value for value in there if not numeric(value))
        raise MetrolineError(f"the target {target} has {odd!r}, which is no number", hint="--task classification")
    if task is not None:
        return task
    rows = sum(there.values())
    if not numbers:
        if 2 * len(there) > rows and rows >= ENOUGH:
            hint = "name another --target, or say --task classification"
            raise MetrolineError(f"the target {target} has {len(there):,} values in {rows:,} rows", hint=hint)
        return "classification"
    if len(there) > NUMBERS or any(not float(value).is_integer() for value in there):
        return "regression"
    if len(there) <= CLASSES and 5 * len(there) <= rows:
        return "classification"
    raise MetrolineError(
        f"the target {target} has {len(there):,} whole numbers in {rows:,} rows: classes, or amounts?",
        hint="say --task classification or --task regression",
    )


def section(task: str, target: str) -> str:
    """The recipe's section `task`; a number is named as its column is, where that can be a name."""
    if task == "classification":
        return "{kind: classification}"
    answer = re.sub("[^a-z0-9]+", "_", target.lower()).strip("_")
    answer = answer if re.fullmatch("[a-z][a-z0-9_]*", answer) else "value"
    return f"{{kind: regression, name: {quoted(answer)}}} # units: [USD] shows in answers"


def described(seen: Seen, task: str) -> str:
    """Its classes with their counts, or its range."""
    gaps = f"; {seen.targets[None]:,} rows without it are left out" if seen.targets[None] else ""
    if task == "regression":
        numbers = [float(value) for value in seen.targets if value is not None]
        return f"numbers from {min(numbers):g} to {max(numbers):g}{gaps}"
    labels = Counter[str]()
    for value, count in seen.targets.items():
        if value is not None:
            labels[category(value)] += count
    return f"{len(labels):,} classes: {shown_counts(labels)}{gaps}"
