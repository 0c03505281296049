"""Own files in folders, one a class: which classes there are."""

from collections import Counter
from pathlib import Path

from base.errors import MetrolineError
from data.assign import NAMES
from data.fetch.own_files import OwnFiles
from pipelines.recipe.own.found import shown_counts


def classes(data: Path, own: OwnFiles, what: str) -> Counter[str]:
    """How many files each class has. `what`: what they are, such as `image`. Raises MetrolineError: one in no folder,
    folders that are splits, fewer than two classes."""
    ending = own.files[0].suffix
    layout = f"the class is the folder that an {what} lies in: FOLDER/cat/1{ending}, FOLDER/dog/2{ending}"
    names = [own.name(file) for file in own.files]
    if loose := [path for path in names if len(path.parts) == 1]:
        more = f" and {len(loose) - 1:,} more" if len(loose) > 1 else ""
        raise MetrolineError(f"{data}: {loose[0]}{more} in no folder", hint=layout)
    counts = Counter(path.parent.name for path in names)
    if set(map(str.lower, counts)) <= set(NAMES):
        raise MetrolineError(f"{data}: the {what}s lie in {', '.join(sorted(counts))}, which are splits", hint=layout)
    if len(counts) < 2:
        raise MetrolineError(f"{data}: one class only: {shown_counts(counts)}", hint=layout)
    return counts
