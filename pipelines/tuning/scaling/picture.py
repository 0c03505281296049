"""The sweep as a picture: losses over targets, a curve of the law for each size, the run that was foretold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.tuning.scaling.law import Law, Run


def draw(name: str, law: Law, runs: Sequence[Run], held: Run, path: Path) -> None:
    """Write the PNG; equal runs give equal bytes."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    every = (*runs, held)
    sizes = sorted({run.parameters for run in every})
    ends = min(run.targets for run in every) * 0.8, max(run.targets for run in every) * 1.25
    over = np.geomspace(*ends, 100)
    for place, size in enumerate(sizes):
        colour = colormaps["viridis"](0.9 * place / max(1, len(sizes) - 1))
        axes.plot(over, [law.loss(size, each) for each in over], color=colour, linewidth=1)
        mine = sorted((run for run in runs if run.parameters == size), key=lambda run: run.targets)
        axes.plot([run.targets for run in mine], [run.loss for run in mine], "o", color=colour, label=_short(size))
    foretold = law.loss(held.parameters, held.targets)
    label = f"{_short(held.parameters)}, not fitted: {held.loss:.3f}, foretold {foretold:.3f}"
    axes.plot([held.targets], [held.loss], "*", color="crimson", markersize=13, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="targets learnt from", ylabel="loss on valid, nats",
        title=f"{name}: {law.e:.3g} + {law.a:.3g} / N^{law.alpha:.2f} + {law.b:.3g} / D^{law.beta:.2f}",
    )  # fmt: skip
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="parameters N", fontsize=8)
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _short(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.1f} k"
