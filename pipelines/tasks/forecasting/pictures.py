"""Pictures of the test split for the model card."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.forecasting.windows import Windows

CHANNELS, FORECASTS = 4, 6  # channels and forecasts in a row that a backtest shows, at most


def backtest(path: Path, test: Windows, answers: NDArray[np.float32]) -> None:
    """What was forecast, one horizon after the other, and what came; the last channels, as the target often is one."""
    from matplotlib.figure import Figure

    shown = list(range(len(test.output.channels)))[-CHANNELS:]
    picked, last = [], test.origins[-1] + test.horizon
    for row in range(len(test) - 1, -1, -1):
        if test.origins[row] + test.horizon <= last:
            picked.append(row)
            last = test.origins[row]
        if len(picked) == FORECASTS:
            break
    begin, end = last - min(test.context, 2 * test.horizon), test.origins[picked[0]] + test.horizon
    figure = Figure(figsize=(10, 2.2 * len(shown) + 0.5), layout="constrained")
    for place, axes in zip(shown, np.ravel(figure.subplots(len(shown), 1, sharex=True)), strict=True):
        axes.plot(np.arange(begin, end), test.series[begin:end, place], color="0.3", lw=1, label="what came")
        for number, row in enumerate(picked):
            at = test.origins[row] + np.arange(test.horizon)
            made = answers[row, :, place]
            axes.plot(at, made[:, 0], color="C0", lw=1.2, label="" if number else "mean")
            axes.fill_between(
                at, made[:, 1], made[:, -1], color="C0", alpha=0.2, lw=0, label="" if number else _band(test)
            )
            axes.axvline(at[0], color="0.85", lw=0.8, zorder=0)
        axes.set_ylabel(test.output.channels[place])
    axes.legend(loc="lower left", ncols=3, frameon=False, fontsize="small")
    axes.set_xlabel(f"step ({test.output.step})")
    _save(figure, path)


def errors(path: Path, standard: NDArray[Any], targets: NDArray[Any]) -> None:
    """The squared error of the mean by how many steps ahead it is, over all channels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    by_step = np.nanmean(np.square(standard[..., 0] - targets), axis=(0, 2))
    axes.plot(np.arange(1, len(by_step) + 1), by_step)
    axes.set(xlabel="steps ahead", ylabel="squared error, standard scale", ylim=(0, None))
    _save(figure, path)


def _band(test: Windows) -> str:
    first, last = test.output.quantiles[0], test.output.quantiles[-1]
    return f"{100 * first:g} % to {100 * last:g} %"


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})
