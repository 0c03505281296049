"""Losses: softmax cross-entropy, mean squared error, hinge. Each gives one number, the mean over what counts."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Index = NDArray[np.integer]

IGNORE = -100  # the target of a row that does not count


def log_softmax(logits: Array) -> Array:
    """z - log Σ eᶻ over the last dimension; the largest logit is taken off first, so that no exponential overflows."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(logits: Array, targets: Index, *, smoothing: float = 0.0, weights: Array | None = None) -> Array:
    """- Σ w · Σ_v t_v log p_v over the number of rows that count; 0 where none does. logits [N, V], targets [N].

    t is (1 - smoothing) at the target plus smoothing / V everywhere (Szegedy et al. 2015, arXiv:1512.00567).
    """
    log_p, factor = log_softmax(logits), _factor(targets, weights)
    return -(factor[:, None] * _distribution(logits, targets, smoothing) * log_p).sum()


def cross_entropy_backward(
    grad: Array, logits: Array, targets: Index, *, smoothing: float = 0.0, weights: Array | None = None
) -> dict[str, Array]:
    """w (p - t) / rows."""
    difference = np.exp(log_softmax(logits)) - _distribution(logits, targets, smoothing)
    return {"logits": grad * _factor(targets, weights)[:, None] * difference}


def mean_squared_error(x: Array, target: Array) -> Array:
    """Mean of (x - target)² over all elements."""
    return ((x - target) ** 2).mean()


def mean_squared_error_backward(grad: Array, x: Array, target: Array) -> dict[str, Array]:
    """2 (x - target) / n, and its negative to the target."""
    to_x = grad * 2 * (x - target) / x.size
    return {"x": to_x, "target": -to_x}


def hinge(score: Array, *, sign: Array) -> Array:
    """Mean of max(0, 1 - sign · score), sign ±1: the loss of a support vector machine (Cortes and Vapnik 1995)."""
    return np.maximum(0, 1 - sign * score).mean()


def hinge_backward(grad: Array, score: Array, *, sign: Array) -> dict[str, Array]:
    """- sign / n inside the margin, 0 on it and beyond."""
    return {"score": grad * np.where(sign * score < 1, -sign, 0.0) / score.size}


def multiclass_hinge(scores: Array, targets: Index, *, power: int = 1) -> Array:
    """Mean over rows and classes v ≠ y of max(0, 1 - s_y + s_v)ᵖ / V (Weston and Watkins 1999). scores [N, V]."""
    return (_margins(scores, targets) ** power).sum() / scores.size


def multiclass_hinge_backward(grad: Array, scores: Array, targets: Index, *, power: int = 1) -> dict[str, Array]:
    """A class inside the margin pushes its own score down and the right one up by as much."""
    margins = _margins(scores, targets)
    push = power * np.where(margins > 0, margins, 0) ** (power - 1) * (margins > 0) / scores.size
    push[np.arange(len(targets)), targets] = -push.sum(axis=-1)
    return {"scores": grad * push}


def _distribution(logits: Array, targets: Index, smoothing: float) -> Array:
    right = np.arange(logits.shape[-1]) == targets[:, None]
    return (1 - smoothing) * right + smoothing / logits.shape[-1]


def _factor(targets: Index, weights: Array | None) -> Array:
    """What a row's loss is multiplied by: its weight over the number of rows that count."""
    counts = targets != IGNORE
    return counts * (1.0 if weights is None else weights) / max(1, counts.sum())


def _margins(scores: Array, targets: Index) -> Array:
    rows = np.arange(len(targets))
    margins = np.maximum(0, 1 - scores[rows, targets][:, None] + scores)
    margins[rows, targets] = 0
    return margins
