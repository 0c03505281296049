"""The releases of other recipes that a task `Uses` beside the one that its recipe begins with.

    metroline stage reranker xquad-index        # writes data/raw/xquad-index/reranker.json

They are read where they lie. DVC runs what uses one again when it changes, and what runs uses no other.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from base.files import read_object, write_json
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.tasks.interface import Uses
from pipelines.training.first import release

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.interface import Task


def task(recipe: "Recipe", paths: Paths) -> "Task":
    """The recipe's task, given the bundles that it uses. Raises MetrolineError: one is not the release that its stage
    wrote down."""
    made = kinds.task(recipe.task.kind)(recipe)
    if isinstance(made, Uses):
        made.given = {role: _bundle(recipe, role, other, paths) for role, other in made.uses.items()}
    return made


def write_used(recipe: "Recipe", paths: Paths, role: str) -> None:
    """Stages `reranker` and `chat`: write down which release of another recipe this one uses so; for others nothing.

    Raises MetrolineError: no such recipe, not released as it is.
    """
    made = kinds.task(recipe.task.kind)(recipe)
    if isinstance(made, Uses) and role in made.uses:
        paths.raw.mkdir(parents=True, exist_ok=True)
        write_json(paths.used(role), release(recipe.name, made.uses[role], paths))


def _bundle(recipe: "Recipe", role: str, other: str, paths: Paths) -> Path:
    record, again = paths.used(role), f"metroline stage {role} {recipe.name}"
    if not record.is_file():
        raise MetrolineError(f"{record} is missing", hint=again)
    if read_object(record, hint=again) != release(recipe.name, other, paths):
        raise MetrolineError(f"{recipe.name}: the release of {other} that it uses has changed", hint=again)
    return Paths(other, paths.root).bundle
