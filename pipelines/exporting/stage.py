"""Stage `export`: turn the checkpoint into the bundle, and prove that every exported form computes the same.

    metroline stage export speeches

A bundle whose parity is out of bounds is not written at all. What the forms are is the business of the engine that will
run them (`decode.py`, `forward.py`); gates and the model store are `pipelines/release/stage.py`.
"""

import importlib
import shutil
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base import manifest
from base.errors import MetrolineError
from base.files import atomic_folder, read_json, sha256, write_json, write_text
from pipelines.evaluation import SUBJECT
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.code import all_files

if TYPE_CHECKING:
    from data.signature import Signature
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.interface import Task

ROOT = Path(__file__).resolve().parents[2]
NOT_SERVED = ("training.json", "curves.jsonl")
"""Files of a checkpoint that tell of its training."""


def export(recipe: "Recipe", paths: Paths) -> None:
    """Write `paths.bundle`, whole and proven, or fail and leave none.

    Raises MetrolineError: no checkpoint, not evaluated as it is, a form that does not run, parity out of bounds.
    """
    from base.progress import Progress

    task = kinds.task(recipe.task.kind)(recipe)
    signature = task.signature(paths.prepared)
    engine = _engine(recipe, paths, signature)
    needed = [paths.checkpoint / name for name in ("model.safetensors", *engine.NEEDED, "training.json")]
    for path in (*needed, paths.metrics, paths.evaluation / SUBJECT):
        if not path.is_file():
            raise MetrolineError(f"{path} is missing", hint=f"metroline run {recipe.name}")
    exportable = task.exportable(paths.checkpoint, paths.prepared)
    if read_json(paths.evaluation / SUBJECT).get("sha256") != sha256(paths.checkpoint / "model.safetensors"):
        raise MetrolineError(
            f"{paths.metrics} is of another checkpoint than {paths.checkpoint}",
            hint=f"metroline stage evaluate {recipe.name}",
        )
    try:
        with (
            atomic_folder(paths.bundle) as folder,
            Progress("export", engine.steps(recipe.export), "steps") as progress,
        ):
            signature.save(folder)
            parity = engine.write(exportable, folder, recipe.export, progress)
            write_json(folder / "parity.json", parity)
            copy_files(paths, folder, getattr(engine, "left_out", ()))
            settings, model = engine.facts(exportable, folder)
            write_papers(task, recipe, paths, folder, parity, settings, model)
    except MetrolineError:
        shutil.rmtree(paths.bundle, ignore_errors=True)  # an older one is not of this checkpoint
        raise


def _engine(recipe: "Recipe", paths: Paths, signature: "Signature") -> Any:
    """What writes the forms: the module of the engine that will run them, or for an adapter alone its own."""
    if getattr(recipe.export, "merged", True):
        return importlib.import_module(f"pipelines.exporting.{signature.engine}")
    from pipelines.exporting.adapter import AdapterExport

    return AdapterExport(recipe, paths)


def copy_files(paths: Paths, folder: Path, left_out: Container[str] = ()) -> None:
    """Checkpoint, metrics, pictures and drift reference into the bundle. `left_out`: files of the checkpoint."""
    for path in sorted(paths.checkpoint.iterdir()):
        if path.is_file() and path.name not in NOT_SERVED and path.name not in left_out:
            shutil.copyfile(path, folder / path.name)
    shutil.copyfile(paths.metrics, folder / "metrics.json")
    for path in sorted(paths.evaluation.iterdir()):
        if path.suffix == ".png" or path.name == "reference.json":
            shutil.copyfile(path, folder / path.name)


def write_papers(
    task: "Task", recipe: "Recipe", paths: Paths, folder: Path, parity: dict[str, Any], settings: dict[str, Any],
    model: dict[str, Any],
) -> None:  # fmt: skip
    """Card, settings of serving, and the manifest, which comes last. `settings`, `model`: the engine's facts."""
    from base.commit import git_commit
    from pipelines.exporting import card

    index, metrics = read_json(paths.prepared / "index.json"), read_json(paths.metrics)
    training = read_json(paths.checkpoint / "training.json")
    parts = task.card(folder, paths.evaluation, metrics, parity)
    write_text(folder / "README.md", card.render(recipe, index, training, parity, _signature(folder), parts))
    write_json(
        folder / "serving.json",
        {
            "name": recipe.name,
            "max_tokens": recipe.serving.max_tokens,
            "precision": recipe.serving.precision,
            **settings,
        },
    )
    values = {
        "name": recipe.name,
        "licence": recipe.licence,
        "data_hash": index["data_hash"],
        "recipe": recipe.model_dump(mode="json"),
        "metrics": metrics,
        "parity": parity,
        "model": model,
    }
    code = sorted(all_files(recipe.task.kind, recipe.model.kind, ROOT))
    if commit := git_commit(paths.root, [*code, Path("pyproject.toml"), Path("constraints.txt")]):
        values["git_commit"] = commit
    manifest.write(folder, values)


def _signature(folder: Path) -> "Signature":
    from data.signature import FILE, Signature

    return Signature.load(folder / FILE)
