"""A whole search: trials until there are enough, then the winner with a second seed, then what was found as files.

    artifacts/NAME/tuning/<space, data, code>/
        journal.log                      Optuna's journal: the trials
        table.csv importance.png parallel.png
        winner.json NAME.yaml NAME.patch

The test split stays closed: `metroline run` opens it, for the recipe that the patch makes.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from base.errors import MetrolineError
from base.files import atomic_path, read_json, write_json, write_text
from base.yaml_files import read_text
from pipelines.line.plots import write_table
from pipelines.paths import Paths
from pipelines.recipe.load import RECIPES, checked, load
from pipelines.tuning import report, space
from pipelines.tuning.identity import identify, learner_of
from pipelines.tuning.patch import unified, with_changes
from pipelines.tuning.space import Setting
from pipelines.tuning.study import Method, Pruner, Sampler, Study
from pipelines.tuning.trial import TrialPaths, fit, run_trial


@dataclass(frozen=True)
class Options:
    """How much is tried, and how. `minutes`: after which no trial begins, over all sittings."""

    trials: int
    minutes: float
    sampler: Sampler
    pruner: Pruner
    seed: int


@dataclass(frozen=True)
class Found:
    """The end of a search: its folder, its winner, and the winner's best validation with both seeds."""

    study: Study
    folder: Path
    metric: str
    winner: FrozenTrial
    second: float
    own: float | None
    """Of the recipe as it is, where that was the first trial."""


def search(name: str, root: Path, settings: Sequence[Setting], options: Options, said: Callable[[str], None]) -> Found:
    """Try settings of a recipe whose data is prepared; resumes. `said` gets a line for every trial.

    Raises MetrolineError: settings that the schema refuses, no data, another search of the same, nothing that trained.
    """
    recipe, values, paths = load(name, root), space.read(name, root), Paths(name, root)
    space.check(settings, name, values)
    if options.sampler == "grid":
        for setting in settings:
            setting.grid()
    learner, hashes = learner_of(recipe, paths)
    metric, better = _judged(learner)
    identity = identify(recipe, learner, hashes, settings, [options.sampler, options.pruner, options.seed])
    steps = max(recipe.train.steps, *(int(end) for s in settings if s.key == "train.steps" for end in s.ends()), 0)
    resource = (recipe.train.evaluate_every, steps)
    method = Method(options.sampler, options.pruner, options.seed, metric, better, resource)
    folder = paths.artifacts / "tuning" / identity
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "busy.lock", timeout=0):
            first = space.own(settings, recipe)
            study = Study(folder, identity, settings, method, first)
            _try(study, options, values, paths, folder, said)
            winner = study.best()
            if winner is None:
                why = next((t.user_attrs["why"] for t in study.trials if "why" in t.user_attrs), "none came to its end")
                raise MetrolineError(f"none of {len(study.trials)} trials can win: {why}")
            own = study.trials[0] if first and options.sampler != "grid" else None
            second = _second(study, winner, values, paths, folder)
            _write(study, winner, folder, metric, root, name)
            return Found(study, folder, metric, winner, second, own.value if own else None)
    except Timeout:
        raise MetrolineError(f"another search works in {folder}", hint="wait for it, or stop it") from None


def _judged(learner: Any) -> tuple[str, Any]:
    """What trials are judged by, and in which direction."""
    from pipelines.tasks.interface import Judged

    return (learner.metric, learner.better) if isinstance(learner, Judged) else ("loss", "lower")


def _try(
    study: Study, options: Options, values: dict[str, Any], paths: Paths, folder: Path, said: Callable[[str], None]
) -> None:
    while len(study.trials) < options.trials:
        used = sum(trial.user_attrs["seconds"] for trial in study.trials)
        if study.trials and used > 60 * options.minutes:
            said(f"{options.minutes:g} minutes are used")
            return
        trial = study.ask()
        if trial is None:
            said("the grid is done")
            return
        told = run_trial(study, trial, values, paths, folder / "trials" / f"{trial.number:04d}")
        chosen = " ".join(f"{setting.key}={setting.value(trial.params[setting.key])}" for setting in study.settings)
        said(f"trial {trial.number} ({trial.number + 1} of {options.trials}): {told}  {chosen}")


def _second(study: Study, winner: FrozenTrial, values: dict[str, Any], paths: Paths, folder: Path) -> float:
    """The winner's best validation with another seed: how much of its lead was luck."""
    file = folder / "winner.json"
    if file.is_file() and (kept := read_json(file))["trial"] == winner.number:
        return float(kept["second"]["value"])
    chosen = {setting.path: setting.value(winner.params[setting.key]) for setting in study.settings}
    recipe = checked(paths.recipe, space.put(values, chosen), "the winner")
    seed = recipe.train.seed + 1
    again = checked(paths.recipe, space.put(values, {**chosen, ("train", "seed"): seed}), "the winner")
    result = fit(again, TrialPaths(paths.recipe, paths.root, folder / "trials" / f"seed-{seed}-of-{winner.number:04d}"))
    settings = {".".join(path): value for path, value in chosen.items()}
    first = {"seed": recipe.train.seed, "value": winner.value, "loss": winner.user_attrs["loss"]}
    second = {"seed": seed, "value": result.value, "loss": result.loss}
    shutil.rmtree(folder / "trials")
    write_json(file, {"trial": winner.number, "settings": settings, "first": first, "second": second})
    return result.value


def _write(study: Study, winner: FrozenTrial, folder: Path, metric: str, root: Path, name: str) -> None:
    write_table(folder / "table.csv", report.head(study, metric), report.rows(study))
    counted = len([trial for trial in study.trials if trial.state == TrialState.COMPLETE])
    if found := report.importances(study):
        with atomic_path(folder / "importance.png") as path:
            report.draw_importances(found, path, f"{name}: what decides valid {metric} ({counted} trials)")
    with atomic_path(folder / "parallel.png") as path:
        report.draw_parallel(study, path, metric)
    place = RECIPES / f"{name}.yaml"
    before = read_text(root / place)
    after = with_changes(before, {s.path: s.value(winner.params[s.key]) for s in study.settings})
    write_text(folder / f"{name}.yaml", after)
    write_text(folder / f"{name}.patch", unified(before, after, place.as_posix()))


def seconds(study: Study) -> float:
    """What all trials took together."""
    return sum(float(trial.user_attrs["seconds"]) for trial in study.trials)
