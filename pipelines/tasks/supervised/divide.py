"""Items → splits, so that nothing of the test split is known in training: what would leak is left out or refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from base.errors import MetrolineError
from data import assign, few_shot, leaks
from data.split import SPLITS, SplitConfig
from pipelines.tasks.supervised.read import Item


@dataclass
class Divided:
    """Items by split, and those left out as (split, id, reason)."""

    items: dict[str, list[Item]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    dropped: list[tuple[str, str, str]] = field(default_factory=list)


def divide(items: Sequence[Item], config: SplitConfig, *, labels: bool) -> Divided:
    """Equal inputs share a split under `hash`; of equal rows in two given splits see `SplitConfig.duplicates`. Items
    without a target are left out. Raises MetrolineError: an empty split, a label that train has not, a leak.
    """
    found = Divided()
    there = [item for item in items if item.target not in (None, "")]
    found.dropped += [("train", item.id, "no target") for item in items if item.target in (None, "")]
    asked = [assign.Item(item.id, assign.digest(item.key.encode()), {**item.row, **item.meta}) for item in there]
    splits = assign.assign(asked, config)
    leaks.refuse_split_groups(asked, splits, config)
    rows = [assign.Item(item.id, assign.digest(item.whole.encode())) for item in there]
    kept = leaks.drop_duplicates(rows, splits, config)
    if labels:
        names = [str(item.target) for item in there]
        leaks.refuse_unseen_labels(rows, kept, names)
        fewer = few_shot.few_per_label(rows, kept, names, config)
    else:
        fewer = kept
    for item, split, alone, now in zip(there, splits, kept, fewer, strict=True):
        if now:
            found.items[now].append(item)
        else:
            reason = "beyond split.per_class" if alone else "in a later split too" if split else "in a gap"
            found.dropped.append((split or "train", item.id, reason))
    for split in SPLITS:
        if not found.items[split]:
            raise MetrolineError(f"the {split} split has no item", hint=f"{len(items):,} were read; see section split")
    train = found.items["train"]
    columns = {name: [item.row[name] for item in train] for name in train[0].row}
    leaks.refuse_copies_of_the_target(columns, [item.target for item in train])
    return found
