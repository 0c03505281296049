"""Stage `evaluate`: judge the checkpoint on the test split.

    metroline stage evaluate speeches

What is measured is the task's; here it is written down for whom it is meant: DVC, gates, the card, the exporter.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from base.files import atomic_folder, read_json, sha256, write_json
from pipelines.paths import Paths
from pipelines.recipe import kinds

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.interface import Task

SUBJECT = "checkpoint.json"
"""In the evaluation's folder: the SHA-256 of the weights that were judged. Export takes these numbers for no others."""


def evaluate(recipe: "Recipe", paths: Paths, first: Path | None = None, task: "Task | None" = None) -> None:
    """Measure `paths.checkpoint` on the test split and write `paths.metrics` and `paths.evaluation`. `first`: the files
    of the weights that it began with, where the recipe has such; `task`: the recipe's, given what it uses.

    Raises MetrolineError: no checkpoint or prepared data, a checkpoint of other data, and what the task raises.
    """
    if not paths.checkpoint.is_dir():
        raise MetrolineError(f"{paths.checkpoint} is missing", hint=f"metroline run {recipe.name}")
    check_same_data(paths)
    task = task or kinds.task(recipe.task.kind)(recipe)
    with atomic_folder(paths.evaluation) as folder:
        measured = task.measure(paths.checkpoint, paths.prepared, folder, first)
        write_json(folder / SUBJECT, {"sha256": sha256(paths.checkpoint / "model.safetensors")})
    write_json(paths.metrics, measured.metrics())


def check_same_data(paths: Paths) -> None:
    """Raise MetrolineError when the checkpoint is of other data: it may have been trained on this test split."""
    record, index = paths.checkpoint / "training.json", paths.prepared / "index.json"
    for path in (record, index):
        if not path.is_file():
            raise MetrolineError(f"{path} is missing", hint=f"metroline run {paths.recipe}")
    if read_json(record).get("data_hash") != read_json(index).get("data_hash"):
        raise MetrolineError(
            f"{paths.checkpoint} was trained on other data than {paths.prepared}", hint=f"metroline run {paths.recipe}"
        )
