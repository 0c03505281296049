"""One trial: a training run of the recipe with other settings, which stops early when others were further by then.

It resumes like every run: killed anywhere, it goes on from its last state and arrives at the same numbers. It reads
`train` and `valid`, never `test`.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError
from pipelines.paths import Paths
from pipelines.recipe.load import checked
from pipelines.tuning.space import put

if TYPE_CHECKING:
    import optuna

    from pipelines.recipe.schema import Recipe
    from pipelines.tuning.study import Study


class Pruned(Exception):
    """The trial is behind the others and not worth its time."""


@dataclass(frozen=True)
class TrialPaths(Paths):
    """A recipe's paths, but for where its training states lie."""

    folder: Path = Path()

    @property
    def training(self) -> Path:
        """States and curves of this trial."""
        return self.folder


@dataclass(frozen=True)
class Result:
    """The best validation of a run: what it is judged by, its loss, its step."""

    value: float
    loss: float
    step: int


def run_trial(study: "Study", trial: "optuna.Trial", values: Mapping[str, Any], paths: Paths, folder: Path) -> str:
    """Train a trial to its end, keep it in the study, and say in one line how it went. Raises MetrolineError for what
    no other settings would mend."""
    from optuna.trial import TrialState

    from pipelines.training.loop import Diverged

    chosen = {setting.path: setting.value(trial.params[setting.key]) for setting in study.settings}
    began, known = time.monotonic(), f"trial {trial.number}"
    try:
        recipe = checked(paths.recipe, put(values, chosen), known)
    except MetrolineError as error:  # each setting is right, but not all of them together
        study.add(trial, TrialState.FAIL, None, why=str(error).removeprefix(f"{known}: "), seconds=0.0)
        return f"no recipe: {error}"
    try:
        result = fit(recipe, TrialPaths(paths.recipe, paths.root, folder), trial, study.method.metric)
    except Pruned:
        last = trial.study.get_trials(deepcopy=False)[trial.number].last_step
        reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        assert last is not None
        study.add(trial, TrialState.PRUNED, reported[last], step=last, seconds=time.monotonic() - began)
        told = f"{reported[last]:.4g}, pruned at step {last}"
    except Diverged as error:
        study.add(trial, TrialState.FAIL, None, why=str(error), seconds=time.monotonic() - began)
        told = f"diverged: {error}"
    except MetrolineError as error:
        settings = ", ".join(f"{'.'.join(path)}={value}" for path, value in chosen.items())
        raise MetrolineError(f"{known} ({settings}): {error}") from None
    else:
        about = {"loss": result.loss, "step": result.step, "seconds": time.monotonic() - began}
        study.add(trial, TrialState.COMPLETE, result.value, **about)
        told = f"{result.value:.4g} at step {result.step}"
    shutil.rmtree(folder, ignore_errors=True)  # it is in the journal now
    return told


def validated(line: Mapping[str, Any], metric: str) -> float | None:
    """What a line of the curves is judged by; None: it is of no validation. A learner may note more values in it."""
    found = line.get(f"valid_{metric}")
    return None if found is None else float(found)


def fit(recipe: "Recipe", paths: Paths, trial: "optuna.Trial | None" = None, metric: str = "loss") -> Result:
    """Train and give the best validation; with a trial that is asked at each, by `metric`, whether to go on.

    Raises Pruned; MetrolineError as `pipelines.training.stage.train`, and where there is no validation split.
    """
    from pipelines.tasks.interface import Judged
    from pipelines.training.stage import finished

    def watch(line: dict[str, Any]) -> None:
        value = validated(line, metric)
        if trial is not None and value is not None:
            trial.report(value, line["step"])
            if line["step"] < recipe.train.steps and trial.should_prune():
                raise Pruned

    with finished(recipe, paths, watch=watch) as run:
        counters = run.trainer.counters
        if counters.best_value is None or counters.best_loss is None:
            name = run.trainer.metric if isinstance(run.trainer.task, Judged) else "loss"
            raise MetrolineError(f"there is no {name} to go by: no validation split", hint="split.valid above 0")
        return Result(counters.best_value, counters.best_loss, counters.best_step)
