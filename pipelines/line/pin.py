"""Pin a recipe's own files as they are now, before a run that is to learn from what has come since.

It is `metroline init NAME --data PATH --update` with the path that the recipe has. A recipe whose data comes from the
web, a registry or a hub stays as it is: there, another version is another source.
"""

from pathlib import Path

from data.fetch.sources import FileSource
from pipelines.recipe.load import load
from pipelines.recipe.new import repin


def pin_again(recipe: str, root: Path = Path(".")) -> tuple[bool, str]:
    """Whether the files had changed, and a line about them. Raises MetrolineError: they are gone or unreadable."""
    before = load(recipe, root).source
    if not isinstance(before, FileSource):
        return False, f"the data of {recipe} comes from a {before.kind} source, which stays as it is pinned"
    # relative to the project where the recipe says so: repin writes it back in the same words
    path = Path(before.path).expanduser()
    _, files = repin(recipe, path if path.is_absolute() else root.resolve() / path, root.resolve())
    after = load(recipe, root).source
    assert isinstance(after, FileSource)
    changed = after.sha256 != before.sha256
    what = "have changed: pinned anew" if changed else "are as they were pinned"
    return changed, f"{before.path} ({files.summary()}): the files {what}"
