"""Pictures of the test split for the model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.supervised import metrics

MOST = 20  # labels that a confusion matrix names


def confusion(path: Path, chosen: NDArray[np.int64], targets: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Rows: the true label; columns: the answer; shares of each row."""
    from sklearn.metrics import confusion_matrix

    shares = confusion_matrix(targets, chosen, labels=range(len(labels)), normalize="true")
    figure, axes = _figure()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="answer", ylabel="label")
    if len(labels) <= MOST:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    _save(figure, path)


def reliability(path: Path, scores: NDArray[Any], targets: NDArray[np.int64]) -> None:
    """How often the likeliest label is right, by its score; on the diagonal scores mean what they say."""
    bins = metrics.reliability(scores, targets)
    there = bins[:, 0] > 0
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color="0.7")
    axes.plot(bins[there, 1], bins[there, 2], marker="o")
    axes.set(xlabel="score of the likeliest label", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    _save(figure, path)


def scatter(path: Path, answers: NDArray[Any], targets: NDArray[Any], name: str) -> None:
    """Answers against the truth."""
    figure, axes = _figure()
    axes.scatter(targets, answers, s=2, alpha=0.3)
    ends = [float(targets.min()), float(targets.max())]
    axes.plot(ends, ends, color="0.5")
    axes.set(xlabel=name, ylabel="answer")
    _save(figure, path)


def _figure() -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})
