"""All runs of a sweep, the law through all but the largest, and how well it foretells that one.

    artifacts/NAME/scaling/<space, data, code>/
        runs/*.json      one for each run that is done
        table.csv scaling.png law.json

Stopped or killed anywhere, the same sweep goes on. Runs are judged on `valid`; the test split stays closed.
"""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from base.errors import MetrolineError
from base.files import atomic_path, read_json, write_json
from pipelines.line.plots import write_table
from pipelines.paths import Paths
from pipelines.recipe.load import checked, load
from pipelines.tuning import space
from pipelines.tuning.identity import identify, learner_of
from pipelines.tuning.scaling.law import LEAST, Law, Run, drawn_again, fit, interval
from pipelines.tuning.scaling.picture import draw
from pipelines.tuning.space import Setting
from pipelines.tuning.trial import TrialPaths


@dataclass(frozen=True)
class Found:
    """The end of a sweep."""

    folder: Path
    law: Law
    intervals: dict[str, tuple[float, float]]
    """Of each number of the law, 80 %."""
    runs: tuple[Run, ...]
    """Without `held`, the run of most operations, which the law has not seen."""
    held: Run
    foretold: float

    @property
    def off(self) -> float:
        """How far the foretold loss lies from the measured one, as a part of it."""
        return self.foretold / self.held.loss - 1


def sweep(name: str, root: Path, settings: Sequence[Setting], said: Callable[[str], None]) -> Found:
    """Train the recipe, whose data is prepared, at every place of the grid. `said` gets a line for every run.

    Raises MetrolineError: settings that the schema refuses, too few, one size or one length only; what training raises.
    """
    recipe, values, paths = load(name, root), space.read(name, root), Paths(name, root)
    space.check(settings, name, values)
    places = [dict(zip(settings, place, strict=True)) for place in itertools.product(*(s.grid() for s in settings))]
    if len(places) <= LEAST:
        raise MetrolineError(f"{len(places)} runs, and a law with one run to foretell takes {LEAST + 1} or more")
    folder = paths.artifacts / "scaling" / identify(recipe, *learner_of(recipe, paths), settings, ["scaling"])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "busy.lock", timeout=0):
            rows = []
            for number, place in enumerate(places):
                chosen = {setting.path: setting.value(drawn) for setting, drawn in place.items()}
                run = _run(number, chosen, values, paths, folder)
                rows.append((number, run.parameters, run.targets, run.loss, *chosen.values()))
                told = " ".join(f"{'.'.join(path)}={value}" for path, value in chosen.items())
                sizes = f"{run.parameters:,} parameters, {run.targets:,} targets"
                said(f"run {number + 1} of {len(places)}: {told}: {sizes}, loss {run.loss:.4f}")
            head = ("run", "parameters", "targets", "valid_loss", *(setting.key for setting in settings))
            write_table(folder / "table.csv", head, rows)
            return _foretell(name, [Run(*row[1:4]) for row in rows], folder)
    except Timeout:
        raise MetrolineError(f"another sweep works in {folder}", hint="wait for it, or stop it") from None


def _run(number: int, chosen: dict[tuple[str, ...], Any], values: dict[str, Any], paths: Paths, folder: Path) -> Run:
    """What is measured of one run: trained now, or found. It is validated at its end alone."""
    from pipelines.training.stage import finished

    file = folder / "runs" / f"{number:04d}.json"
    if file.is_file():
        return Run(**read_json(file))
    recipe = checked(paths.recipe, space.put(values, chosen), f"run {number}")
    once = recipe.train.model_copy(update={"evaluate_every": recipe.train.steps, "early_stopping": 0})
    recipe = recipe.model_copy(update={"train": once})
    training = folder / "runs" / f"{number:04d}"
    with finished(recipe, TrialPaths(paths.recipe, paths.root, training)) as done:
        trainer = done.trainer
        if trainer.counters.valid_loss is None:
            raise MetrolineError("there is no loss to go by: no validation split", hint="split.valid above 0")
        run = Run(trainer.trained, trainer.counters.tokens, trainer.counters.valid_loss)
    write_json(file, asdict(run))
    shutil.rmtree(training, ignore_errors=True)
    return run


def _foretell(name: str, runs: list[Run], folder: Path) -> Found:
    """Fit all runs but the largest one, foretell that one, and write what was found."""
    held = max(runs, key=lambda run: run.flops)
    rest = tuple(run for run in runs if run is not held)
    try:
        law = fit(rest)
    except ValueError as error:
        raise MetrolineError(f"no law: {error}", hint="vary the model's size and train.steps") from None
    drawn = list(drawn_again(rest, law))
    intervals = {key: interval([getattr(each, key) for each in drawn]) for key in asdict(law)}
    found = Found(folder, law, intervals, rest, held, law.loss(held.parameters, held.targets))
    write_json(folder / "law.json", {
        "law": asdict(law), "intervals": intervals, "runs": [asdict(run) for run in rest], "held": asdict(held),
        "foretold": found.foretold, "off": found.off,
    })  # fmt: skip
    with atomic_path(folder / "scaling.png") as path:
        draw(name, law, rest, held, path)
    return found
