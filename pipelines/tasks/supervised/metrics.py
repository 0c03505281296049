"""Values of answers against the truth, by scikit-learn, so that they equal what people check against."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.bootstrap import interval
from pipelines.tasks.interface import Primary

BINS = 10
HIGHER = ("accuracy", "macro_f1", "auc", "pr_auc", "f1", "precision", "recall", "r2")
"""Values of which more is better; of all others less."""
CLASSIFICATION = ("accuracy", "macro_f1", "log_loss", "calibration_error")
BINARY = ("auc", "pr_auc", "f1", "precision", "recall", "positive_rate")
OF_PROBABILITIES = ("log_loss", "calibration_error")
"""Values of a classifier that need probabilities, and not only an order."""
GAIN = ("gain", "gain_low", "gain_high")
"""How much better the primary value is than that of the best reference (else of the floor) on the same test rows, with
the interval of a paired bootstrap; above 0 is better, whichever way the value points."""
REFERENCES = ("linear", "boosted_trees", "tfidf_linear", "tfidf_svm")
"""Models of scikit-learn that `floors.references` fits, each where it fits the input."""
REGRESSION = ("rmse", "mae", "r2")


def primary(name: str, *, labels: bool) -> Primary:
    """The value that says how good a model is, with its direction and floor. `name`: empty means the usual one."""
    name = name or ("accuracy" if labels else "rmse")
    return Primary(f"test.{name}", "higher" if name in HIGHER else "lower", f"baselines.floor_{name}")


def classification(
    scores: NDArray[Any], targets: NDArray[np.int64], threshold: float | None = None, only: str = ""
) -> dict[str, float]:
    """Of probabilities [items, labels]. Of two labels also those of the second one, with `threshold`. `only`: just the
    value of this name.

    AUC and the area under precision and recall are NaN where only one label is there.
    """
    from sklearn import metrics

    labels = list(range(scores.shape[1]))
    scores = np.asarray(scores, np.float64)
    scores = scores / scores.sum(1, keepdims=True)
    chosen, second = decide(scores, threshold), scores[:, -1]
    both = len(np.unique(targets)) == 2
    values: dict[str, Callable[[], Any]] = {
        "accuracy": lambda: metrics.accuracy_score(targets, chosen),
        "macro_f1": lambda: metrics.f1_score(targets, chosen, labels=labels, average="macro", zero_division=0),
        "log_loss": lambda: metrics.log_loss(targets, scores, labels=labels),
        "calibration_error": lambda: calibration_error(scores, targets),
    }
    if len(labels) == 2:
        values |= {
            "auc": lambda: metrics.roc_auc_score(targets, second) if both else np.nan,
            "pr_auc": lambda: metrics.average_precision_score(targets, second) if both else np.nan,
            "f1": lambda: metrics.f1_score(targets, chosen, zero_division=0),
            "precision": lambda: metrics.precision_score(targets, chosen, zero_division=0),
            "recall": lambda: metrics.recall_score(targets, chosen, zero_division=0),
            "positive_rate": lambda: chosen.mean(),
        }
    return {name: float(value()) for name, value in values.items() if only in ("", name)}


def decide(scores: NDArray[Any], threshold: float | None) -> NDArray[np.int64]:
    """The label of each row of probabilities: the likeliest, or of two the second from `threshold` on."""
    if threshold is not None:
        return (scores[:, 1] >= threshold).astype(np.int64)
    return scores.argmax(1).astype(np.int64)


def regression(answers: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Of numbers [items] or [items, 1]."""
    from sklearn import metrics

    given, wanted = np.asarray(answers, np.float64).reshape(len(targets), -1), targets.reshape(len(targets), -1)
    return {
        "rmse": float(metrics.root_mean_squared_error(wanted, given)),
        "mae": float(metrics.mean_absolute_error(wanted, given)),
        "r2": float(metrics.r2_score(wanted, given)) if len(wanted) > 1 else float("nan"),
    }


def reliability(scores: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """[bins, 3]: items, mean score and accuracy of the likeliest label, by ten equal intervals of its score."""
    best, right = scores.max(1), scores.argmax(1) == targets
    places = np.minimum((best * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(places, minlength=BINS)
    at_least = np.maximum(count, 1)
    mean = np.bincount(places, best, BINS) / at_least
    hit = np.bincount(places, right.astype(np.float64), BINS) / at_least
    return np.stack([count.astype(np.float64), mean, hit], 1)


def calibration_error(scores: NDArray[Any], targets: NDArray[np.int64]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599): how far score and accuracy are apart."""
    bins = reliability(scores, targets)
    return float((bins[:, 0] * np.abs(bins[:, 1] - bins[:, 2])).sum() / max(1, len(targets)))


def by_group(
    groups: Sequence[str], value: Any, resamples: int, seed: int = 0, fewest: int = 20
) -> dict[str, dict[str, float]]:
    """`value(rows)` → a number, for the rows of each group: {group: {value, low, high, items}} with the 95 % interval
    of a bootstrap (Efron 1979). Groups of less than `fewest` items are left out.
    """
    names, found = np.asarray(groups), dict[str, dict[str, float]]()
    for name in sorted(set(groups)):
        rows = np.flatnonzero(names == name)
        if len(rows) < fewest:
            continue
        low, high = interval(value, rows, resamples, seed=seed)
        found[name] = {"value": value(rows), "low": low, "high": high, "items": len(rows)}
    return found
