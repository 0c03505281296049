"""What the benchmarks of training share: prepared data, and runs in processes and folders of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from base.yaml_files import read_yaml
from data.fetch.sources import fetch
from pipelines.line.environment import THREADS
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.load import load as load_recipe

ROOT = Path(__file__).resolve().parent.parent
RECIPE = "shakespeare"


@contextmanager
def temporary_line(name: str = RECIPE) -> Iterator[Path]:
    """A temporary folder; the recipe's data is in `prepared` below it, taken from the project when it is there."""
    with TemporaryDirectory(prefix="metroline-benchmark-") as temporary:
        folder = Path(temporary)
        done = Paths(name, ROOT).prepared
        if (done / "index.json").is_file():
            (folder / "prepared").symlink_to(done)
        else:
            recipe = load_recipe(name, ROOT)
            mirror = os.environ.get("METROLINE_MIRROR")
            fetch(recipe.source, folder / "raw", name=name, mirror=Path(mirror) if mirror else None)
            kinds.task(recipe.task.kind)(recipe).prepare(folder / "raw", folder / "prepared", None)
        yield folder


def project(folder: Path, name: str, recipe: str = RECIPE, **training: Any) -> Paths:
    """A project of its own in `folder` with the recipe and the prepared data, but no checkpoint or state.

    `training`: keys of `train` that are other than the recipe's, such as `seed`.
    """
    paths = Paths(recipe, folder / name)
    paths.prepared.parent.mkdir(parents=True)
    paths.prepared.symlink_to((folder / "prepared").resolve())
    recipes = paths.root / "pipelines/recipes"
    recipes.mkdir(parents=True)
    values = read_yaml(ROOT / f"pipelines/recipes/{recipe}.yaml")
    values["train"] |= training
    (recipes / f"{recipe}.yaml").write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    return paths


def start(paths: Paths, threads: Mapping[str, str] = THREADS) -> subprocess.Popen[str]:
    """Begin, or go on, to train the recipe in a process of its own. `threads`: variables, by default the line's."""
    command = [sys.executable, "-m", "pipelines.training.stage", paths.recipe, "--root", str(paths.root)]
    environment = {name: value for name, value in os.environ.items() if name not in THREADS} | dict(threads)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def train(paths: Paths, threads: Mapping[str, str] = THREADS) -> None:
    """Train the recipe to its end. Raises RuntimeError with what the process said when it fails."""
    process = start(paths, threads)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"training ended with {process.returncode}:\n{output}")


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def timing(paths: Paths) -> list[dict[str, Any]]:
    """The lines of timing.jsonl that measure steps."""
    return [line for line in lines(paths.training / "timing.jsonl") if "steps" in line]
