"""What a search found: a table, the importance of each setting, and all trials as parallel coordinates.

Equal trials give equal bytes; how long a trial took stands in the journal alone.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from pipelines.tuning.space import Setting
from pipelines.tuning.study import Study

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def rows(study: Study) -> list[tuple[Any, ...]]:
    """One for each trial: number, state, value, step, and its settings."""
    return [
        (
            trial.number, STATES[trial.state], trial.value, trial.user_attrs.get("step"),
            *(setting.value(trial.params[setting.key]) for setting in study.settings),
        )
        for trial in study.trials
    ]  # fmt: skip


def head(study: Study, metric: str) -> tuple[str, ...]:
    """The names of the columns."""
    return ("trial", "state", f"valid_{metric}", "step", *(setting.key for setting in study.settings))


def table(study: Study, metric: str, most: int = 10) -> Table:
    """The best trials for a terminal, the winner first."""
    sign = -1 if study.method.better == "higher" else 1
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.user_attrs["loss"], t.number))[:most]
    found = rows(study)
    drawn = Table(*head(study, metric), title=f"the best {len(best)} of {len(found)} trials")
    for trial in best:
        drawn.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in found[trial.number]))
    return drawn


def importances(study: Study) -> dict[str, float]:
    """How much each setting decides of the value (PED-ANOVA: Watanabe, Bansal and Hutter 2023), the most first; empty
    with too few trials or where all values are equal."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    copied = optuna.create_study(direction=study.method.direction)
    copied.add_trials(complete)
    return dict(optuna.importance.get_param_importances(copied))


def draw_importances(found: dict[str, float], path: Path, title: str) -> None:
    """Bars, the longest on top."""
    figure = _figure(7, 1.4 + 0.35 * len(found))
    axes = figure.add_subplot()
    names = list(reversed(found))
    axes.barh(names, [found[name] for name in names], color="#3b6ea5")
    axes.set(xlabel="share of what the settings decide", title=title, xlim=(0, 1))
    axes.grid(alpha=0.3, axis="x")
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def draw_parallel(study: Study, path: Path, metric: str) -> None:
    """A line for each complete trial through its settings to its value, the better the darker."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    values = [trial.value or 0.0 for trial in complete]
    low, high = min(values), max(values)
    figure = _figure(2 + 1.6 * (len(study.settings) + 1), 4.5)
    axes = figure.add_subplot()
    from matplotlib import colormaps

    sign = 1 if study.method.better == "higher" else -1
    for trial in sorted(complete, key=lambda trial: sign * (trial.value or 0.0)):
        share = ((trial.value or 0.0) - low) / (high - low) if high > low else 1.0
        good = share if sign > 0 else 1 - share
        heights = [_height(setting, trial) for setting in study.settings] + [share]
        axes.plot(heights, color=colormaps["Blues"](0.25 + 0.75 * good), linewidth=0.8 + 1.4 * good)
    names = [setting.key for setting in study.settings]
    axes.set_xticks(range(len(names) + 1), [*names, f"valid {metric}"])
    axes.set(yticks=[], xlim=(-0.15, len(names) + 0.35), ylim=(-0.06, 1.06))
    for place, marks in enumerate([*map(_marks, study.settings), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]]):
        axes.axvline(place, color="0.6", linewidth=0.8)
        for height, text in marks:
            axes.annotate(text, (place, height), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center")
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _height(setting: Setting, trial: FrozenTrial) -> float:
    drawn, distribution = trial.params[setting.key], setting.distribution
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(drawn) / (len(distribution.choices) - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return (scale(drawn) - low) / (high - low)


def _marks(setting: Setting) -> Sequence[tuple[float, str]]:
    distribution = setting.distribution
    if isinstance(distribution, CategoricalDistribution):
        return [(i / (len(distribution.choices) - 1), str(text)) for i, text in enumerate(distribution.choices)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [(0.0, f"{distribution.low:g}"), (1.0, f"{distribution.high:g}")]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
