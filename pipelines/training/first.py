"""The files of a recipe's first weights: those that were fetched, or the checkpoint or release of another recipe.

    metroline stage base smollm2-sft           # writes data/raw/smollm2-sft/base.json
    metroline stage released speeches-index    # the same, of the bundle that is released

They are read where they lie, not copied. base.json has the SHA-256 of the checkpoint's files, or the release's version,
which is a hash of the bundle's: DVC prepares and trains again when one changes, and what is trained begins with no
other.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from base import manifest
from base.errors import MetrolineError
from base.files import read_object, sha256, write_json
from data.fetch.own_files import WEIGHTS
from pipelines.paths import Paths
from pipelines.recipe.sections import OwnSource, RecipeSource, ReleaseSource

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

TENSORS = (".gguf", ".safetensors", ".pth")
"""Endings of files that hold weights."""
ADAPTER = "adapter"
"""Below a checkpoint: the adapter that is merged in it already, as PEFT's files."""
_WHAT = {RecipeSource: "checkpoint", ReleaseSource: "release"}
ABOUT = ("training.json",)
"""Files of a checkpoint that tell of its training and decide nothing of what it computes."""


def folder(recipe: "Recipe", paths: Paths) -> Path | None:
    """The folder with the files of the first weights; None: the recipe draws its own.

    Raises MetrolineError: a checkpoint of another recipe that is missing, or not the one that stage `base` saw.
    """
    source = recipe.pretrained.source
    if not isinstance(source, OwnSource):
        return paths.pretrained / "files" if source is not None else None
    again = f"metroline stage {'base' if isinstance(source, RecipeSource) else 'released'} {recipe.name}"
    if not paths.base.is_file():
        raise MetrolineError(f"{paths.base} is missing", hint=again)
    if read_object(paths.base, hint=again) != _record(recipe.name, source, paths):
        raise MetrolineError(
            f"{recipe.name}: the {_WHAT[type(source)]} of {source.name} that it begins with has changed",
            hint=f"metroline run {recipe.name}",
        )
    other = Paths(source.name, paths.root)
    return other.checkpoint if isinstance(source, RecipeSource) else other.bundle


def write_base(recipe: "Recipe", paths: Paths) -> None:
    """Stages `base` and `released`: write down which checkpoint or release of another recipe this one begins with; for
    other recipes nothing.

    Raises MetrolineError: no such recipe, no checkpoint of it, not released as it is.
    """
    source = recipe.pretrained.source
    if isinstance(source, OwnSource):
        paths.raw.mkdir(parents=True, exist_ok=True)
        write_json(paths.base, _record(recipe.name, source, paths))


def hashes(files: Path) -> dict[str, str]:
    """Path in the folder → SHA-256 of the files in and below it that hold weights; a checkpoint has them beside, not
    below, where its own adapter is."""
    found = {path.relative_to(files): path for path in sorted(files.rglob("*")) if path.suffix.lower() in TENSORS}
    return {name.as_posix(): sha256(path) for name, path in found.items() if ADAPTER not in name.parts}


def _record(name: str, source: RecipeSource | ReleaseSource, paths: Paths) -> dict[str, object]:
    if isinstance(source, ReleaseSource):
        return release(name, source.name, paths)
    check_known(source.name, paths)
    checkpoint = Paths(source.name, paths.root).checkpoint
    files = sorted(path for path in checkpoint.glob("*") if path.suffix in WEIGHTS and path.name not in ABOUT)
    if not any(path.suffix in TENSORS for path in files):
        raise MetrolineError(
            f"{name}: there is no checkpoint of {source.name}, with which it begins ({checkpoint})",
            hint=f"metroline run {source.name}",
        )
    return {"recipe": source.name, "files": {path.name: sha256(path) for path in files}}


def check_known(name: str, paths: Paths) -> None:
    """Raise MetrolineError unless there is such a recipe."""
    from pipelines.recipe.load import names, unknown_recipe

    if name not in names(paths.root):
        raise unknown_recipe(name, paths.root)


def release(name: str, wanted: str, paths: Paths) -> dict[str, object]:
    """What is written down of a release: that of the bundle which lies below artifacts/, named by its hash.

    Raises MetrolineError: no such recipe, not released as it is. `name`: the recipe that needs it.
    """
    check_known(wanted, paths)
    other, run = Paths(wanted, paths.root), f"metroline run {wanted}"
    if not other.release.is_file() or not (other.bundle / manifest.NAME).is_file():
        raise MetrolineError(f"{name}: {wanted}, which it needs, is not released", hint=run)
    released = read_object(other.release, hint=run)
    version = read_object(other.bundle / manifest.NAME, hint=run)["version"]
    if released.get("version") != version:
        raise MetrolineError(f"{name}: {other.bundle} is version {version}, which is not released", hint=run)
    return {"recipe": wanted, "release": released["tag"]}
