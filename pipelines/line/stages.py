"""The stages by name, and how one of them is run in a process of its own.

    metroline stage prepare speeches        # what dvc.yaml calls

A stage knows neither DVC nor Prefect: it reads what the stage before it wrote and writes its own outputs. Which stages
are stale is DVC's to say (pipelines/line/dvc.py); retries and time-outs are the flow's (pipelines/line/flow.py).
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from base.errors import MetrolineError, nearest
from base.files import writing
from base.writable import check_writable
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import Recipe

OWNER = "METROLINE_OWNER"
"""Variable with the process number of who started the stage; the stage ends when that process is gone."""
FORCED = "METROLINE_FORCED"
"""Variable that is set when the stage is to run though it is fresh: what it finished before is then done again."""
ERROR_MARKER = "@error "
"""Opens the line that tells a parent process which error ended the stage (with METROLINE_PROGRESS=lines)."""


def _fetch(recipe: Recipe, paths: Paths) -> None:
    from base.files import write_json
    from data.fetch.own_files import WEIGHTS
    from data.fetch.sources import fetch
    from pipelines.recipe.sections import OwnSource

    variable = os.environ.get("METROLINE_MIRROR")
    mirror = Path(variable) if variable else None
    told = [fetch(recipe.source, paths.raw, name=recipe.name, mirror=mirror, suffixes=recipe.suffixes)]
    weights = recipe.pretrained.source
    if weights is None or isinstance(weights, OwnSource):  # DVC wants its folder all the same
        paths.pretrained.mkdir(exist_ok=True)
        write_json(paths.pretrained / "source.json", {"kind": getattr(weights, "kind", None), "files": {}})
    else:  # now, because its folder is inside the one that was just replaced
        told.append(fetch(weights, paths.pretrained, name=recipe.name, mirror=mirror, suffixes=WEIGHTS))
    for line in filter(None, told):
        print(line, flush=True)


def _base(recipe: Recipe, paths: Paths) -> None:
    from pipelines.training.first import write_base

    write_base(recipe, paths)


def _reranker(recipe: Recipe, paths: Paths) -> None:
    from pipelines.training.used import write_used

    write_used(recipe, paths, "reranker")


def _chat(recipe: Recipe, paths: Paths) -> None:
    from pipelines.training.used import write_used

    write_used(recipe, paths, "chat")


def _prepare(recipe: Recipe, paths: Paths) -> None:
    from pipelines.training.first import folder

    kinds.task(recipe.task.kind)(recipe).prepare(paths.raw, paths.prepared, folder(recipe, paths))


def _train(recipe: Recipe, paths: Paths) -> None:
    from pipelines.line.plots import write_curves
    from pipelines.training.imported import import_weights, only_imports
    from pipelines.training.stage import train

    if only_imports(recipe):
        import_weights(recipe, paths)
    else:
        train(recipe, paths, anew=bool(os.environ.get(FORCED)))
    write_curves(paths)


def _evaluate(recipe: Recipe, paths: Paths) -> None:
    from pipelines.evaluation import evaluate
    from pipelines.line.plots import write_groups
    from pipelines.training.first import folder
    from pipelines.training.used import task

    evaluate(recipe, paths, folder(recipe, paths), task(recipe, paths))
    write_groups(paths)


def _export(recipe: Recipe, paths: Paths) -> None:
    from pipelines.exporting.stage import export

    export(recipe, paths)


def _release(recipe: Recipe, paths: Paths) -> None:
    from pipelines.release.stage import release

    release(recipe, paths)


@dataclass(frozen=True)
class Stage:
    """What the orchestrator needs to know about a stage beyond its place in DVC's graph."""

    function: Callable[[Recipe, Paths], None]
    minutes: float
    """Time-out under the flow; METROLINE_TIMEOUT_<STAGE> (minutes) overrides it."""
    network: bool = False
    """Worth another try: the failure may be somebody else's and pass."""

    def seconds(self, name: str) -> float:
        """The time-out in seconds. Raises MetrolineError when the variable holds no positive number."""
        variable = f"METROLINE_TIMEOUT_{name.upper()}"
        text = os.environ.get(variable, str(self.minutes))
        try:
            minutes = float(text)
        except ValueError:
            minutes = 0.0
        if not 0 < minutes < 1e6:
            raise MetrolineError(f"{variable}={text!r} is not a number of minutes above 0")
        return 60 * minutes


STAGES = {
    "fetch": Stage(_fetch, minutes=60, network=True),
    "base": Stage(_base, minutes=30),
    "released": Stage(_base, minutes=30),
    "reranker": Stage(_reranker, minutes=30),
    "chat": Stage(_chat, minutes=30),
    "prepare": Stage(_prepare, minutes=240),
    "train": Stage(_train, minutes=7 * 24 * 60),
    "evaluate": Stage(_evaluate, minutes=240),
    "export": Stage(_export, minutes=120),
    "release": Stage(_release, minutes=30),
}


def run(stage: str, recipe: str, root: Path = Path(".")) -> None:
    """Run one stage of one recipe here and now. Raises MetrolineError: unknown names, and whatever the stage raises."""
    if stage not in STAGES:
        raise MetrolineError(f"no stage {stage!r}", hint=nearest(stage, STAGES))
    checked, paths = load_recipe(recipe, root), Paths(recipe, root)
    check_writable(root, (paths.raw, paths.prepared, paths.artifacts))
    with tied_to_owner(), writing(paths.artifacts):
        STAGES[stage].function(checked, paths)


def report(error: MetrolineError) -> None:
    """Tell the parent process, as one line on standard output, what went wrong."""
    from base.errors import NetworkError

    event = {"message": str(error), "temporary": isinstance(error, NetworkError)}
    print(ERROR_MARKER + json.dumps(event), flush=True)


@contextmanager
def tied_to_owner(every: float = 1.0) -> Iterator[None]:
    """While inside: when the process that METROLINE_OWNER names is gone, send SIGTERM to this process's whole group.

    A flow that is killed outright (SIGKILL, out of memory) cannot end its stage; a stage that went on would write into
    outputs that the next run uses. The trainer takes SIGTERM as "save a checkpoint and stop". Without the variable
    (a stage started by hand or by plain `dvc repro`) nothing is watched.
    """
    owner = os.environ.get(OWNER)
    if not owner:
        yield
        return
    try:
        process = psutil.Process(int(owner))
    except psutil.NoSuchProcess:
        process = None

    def gone() -> bool:
        try:
            return process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def watch() -> None:
        while not gone():
            time.sleep(every)
        os.killpg(os.getpgrp(), signal.SIGTERM)

    threading.Thread(target=watch, name="metroline-owner", daemon=True).start()
    try:
        yield
    finally:
        if gone():  # Printing to the owner that is no more may have ended this process first.
            os.killpg(os.getpgrp(), signal.SIGTERM)
