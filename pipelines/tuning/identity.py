"""What decides the runs of a search or a sweep: the recipe without what varies, the data, the code, the space."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.tuning.space import Setting


def learner_of(recipe: Any, paths: Paths) -> tuple[Any, dict[str, str]]:
    """The recipe's learner, and the hashes of its first weights. Raises MetrolineError: no prepared data."""
    from pipelines.training import first

    files = first.folder(recipe, paths)
    learner = kinds.task(recipe.task.kind)(recipe).learner(paths.prepared, files)
    return learner, dict(first.hashes(files)) if files is not None else {}


def identify(
    recipe: Any, learner: Any, hashes: Mapping[str, str], settings: Sequence[Setting], method: Sequence[Any]
) -> str:
    """A hash of it all. `learner` and `hashes`: as `learner_of` has them."""
    from pipelines.training.stage import identify as run_of
    from pipelines.training.state import fingerprint

    return fingerprint(
        {
            "run": run_of(recipe, learner, hashes),
            "space": [[setting.key, repr(setting.distribution)] for setting in settings],
            "method": list(method),
        }
    )
