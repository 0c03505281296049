"""What was tried: Optuna's journal on disk, and which settings come next.

The journal holds finished trials only, each written by one appended and flushed line. What is next is a function of
the journal and the seed: sampler and pruner are made anew for every trial, with a seed of its own, over a copy in
memory. So a search that was killed anywhere goes on as if nothing had happened, its unfinished trial included.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipelines.tuning.space import Setting

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]


@dataclass(frozen=True)
class Method:
    """How the space is searched. `metric`: what runs are judged by; `resource`: steps between validations, and in all,
    for Hyperband."""

    sampler: Sampler
    pruner: Pruner
    seed: int
    metric: str
    better: Literal["higher", "lower"]
    resource: tuple[int, int]

    @property
    def direction(self) -> StudyDirection:
        """`better` in Optuna's words."""
        return StudyDirection.MAXIMIZE if self.better == "higher" else StudyDirection.MINIMIZE


class Study:
    """The trials of one search. `name` decides random numbers and Hyperband's brackets; `first`: settings to begin
    with, as those that the recipe has already."""

    def __init__(
        self, folder: Path, name: str, settings: Sequence[Setting], method: Method, first: Mapping[str, Any] | None
    ) -> None:
        self.settings, self.method, self.name, self.first = settings, method, name, first
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "journal.log"
        _repair(path)
        self.distributions = {setting.key: setting.distribution for setting in settings}
        self._kept = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=name, direction=self.method.direction, load_if_exists=True,
        )  # fmt: skip

    @property
    def trials(self) -> list[FrozenTrial]:
        """All that are finished: complete, pruned or failed; their numbers are their places."""
        return self._kept.get_trials(deepcopy=False)

    def best(self) -> FrozenTrial | None:
        """The complete trial with the best value; of equal ones that with less validation loss, then the first."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        sign = -1 if self.method.better == "higher" else 1
        return min(complete, key=lambda t: (sign * (t.value or 0.0), t.user_attrs["loss"], t.number), default=None)

    def ask(self) -> optuna.Trial | None:
        """The next trial, in memory alone; None when a grid is done."""
        number = len(self.trials)
        sampler = self._sampler(number)
        study = optuna.create_study(
            study_name=self.name, direction=self.method.direction, sampler=sampler, pruner=self._pruner()
        )
        study.add_trials(self.trials)
        if isinstance(sampler, GridSampler) and number and sampler.is_exhausted(study):
            return None
        if number == 0 and self.first and not isinstance(sampler, GridSampler):
            study.enqueue_trial(dict(self.first))
        return study.ask(self.distributions)

    def add(self, trial: optuna.Trial, state: TrialState, value: float | None, **about: Any) -> None:
        """Keep a trial that has come to its end, whole or not at all."""
        seen = trial.study.get_trials(deepcopy=False)[trial.number]
        self._kept.add_trial(
            create_trial(
                state=state, value=value, params=seen.params, distributions=seen.distributions, user_attrs=about,
                system_attrs=seen.system_attrs, intermediate_values=seen.intermediate_values,
            )
        )  # fmt: skip

    def _sampler(self, number: int) -> BaseSampler:
        if self.method.sampler == "grid":  # its seed also numbers the points
            return GridSampler({setting.key: setting.grid() for setting in self.settings}, seed=self.method.seed)
        seed = (self.method.seed * 1_000_003 + number) % 2**32
        return RandomSampler(seed) if self.method.sampler == "random" else TPESampler(seed=seed, multivariate=True)

    def _pruner(self) -> BasePruner:
        every, steps = self.method.resource
        if self.method.pruner == "hyperband":
            return HyperbandPruner(min_resource=every, max_resource=steps, reduction_factor=3)
        if self.method.pruner == "median":  # the first validation says little
            return MedianPruner(n_startup_trials=5, n_warmup_steps=every + 1)
        return NopPruner()


def _repair(path: Path) -> None:
    """After a kill: forget a line that was not written to its end, and the lock of the process that is no more."""
    (path.parent / f"{path.name}.lock").unlink(missing_ok=True)
    if not path.is_file():
        return
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole != path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
