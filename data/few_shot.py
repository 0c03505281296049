"""Few examples of each label: how good a model is that has seen only k of each (section `split`, key `per_class`).

Which ones is a function of the salt and of what is in them, as the splits are: adding records or reading them in
another order takes the same ones, unless a new one comes before them by its hash.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from base.errors import MetrolineError
from data.assign import LEFT_OUT, Item
from data.split import SplitConfig


def few_per_label(
    items: Sequence[Item], splits: Sequence[str], labels: Sequence[str], config: SplitConfig
) -> list[str]:
    """The splits with "" for records of train and valid beyond `per_class`, whose keys are splits; equal records count
    once. Raises MetrolineError: fewer of a label in train than asked for, naming it.
    """
    kept = list(splits)
    for split, most in config.per_class.items():
        found: dict[str, dict[str, int]] = defaultdict(dict)  # label → digest → place of the first such record
        for place, (item, where, label) in enumerate(zip(items, splits, labels, strict=True)):
            if where == split:
                found[label].setdefault(item.digest, place)
                kept[place] = LEFT_OUT
        for label, places in found.items():
            if split == "train" and len(places) < most:
                raise MetrolineError(
                    f"the label {label!r} has {len(places):,} different records in train, and split.per_class.train "
                    f"asks for {most:,}",
                    hint="lower it, add records of the label, or leave the label out",
                )
            for digest in sorted(places, key=lambda digest: _rank(digest, config.salt))[:most]:
                kept[places[digest]] = split
    return kept


def _rank(digest: str, salt: str) -> bytes:
    """Another hash than the one that splits by, so that the first of train are not those next to valid."""
    return hashlib.sha256(f"{salt}\0few\0{digest}".encode()).digest()
