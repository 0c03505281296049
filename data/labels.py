"""The labels of a data set in their one order, which is stored: sorted as people sort (2 before 10), or as given."""

import re
from collections.abc import Iterable, Sequence

from base.errors import MetrolineError, nearest


def natural(text: str) -> tuple[object, ...]:
    """A key to sort by: runs of digits count as numbers, so `class 2` comes before `class 10`."""
    parts = re.split(r"([0-9]+)", text)
    return (*((int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)), text)


def ordered(found: Iterable[str], given: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels `found`, naturally sorted; or `given` as it is, when it names all of them.

    Raises MetrolineError: a label that is not given, one given twice, fewer than two.
    """
    present = sorted(set(found), key=natural)
    if twice := sorted({label for label in given if list(given).count(label) > 1}):
        raise MetrolineError(f"the label {twice[0]!r} is listed twice", hint="list each label once")
    for label in present:
        if given and label not in given:
            raise MetrolineError(f"the label {label!r} is not among the listed ones", hint=nearest(label, given))
    labels = tuple(given or present)
    if len(labels) < 2:
        raise MetrolineError(f"there is only one label: {labels[0]!r}" if labels else "there are no labels")
    return labels
