"""Optimizers as loops: each takes a weight and the gradients of some steps, and yields the weight after each step.

g is the gradient, w the weight, t the step, from 1. Weight decay is λ.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Steps = Iterator[Array]


def sgd(
    w: Array, gradients: Iterable[Array], *, lr: float, momentum: float = 0, nesterov: bool = False, decay: float = 0
) -> Steps:
    """v ← μ v + g + λ w, then w ← w - lr · v; Nesterov steps along g + λ w + μ v (Sutskever et al. 2013)."""
    v = np.zeros_like(w)
    for t, gradient in enumerate(gradients, 1):
        g = gradient + decay * w
        v = g if t == 1 else momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)
        yield w


def adam(
    w: Array,
    gradients: Iterable[Array],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0,
    decoupled: bool = False,
) -> Steps:
    """w ← w - lr · m̂ / (√v̂ + eps), m̂ and v̂ averages of g and g² without bias (Kingma and Ba, arXiv:1412.6980).

    Decay is added to g, or (AdamW: decoupled) shrinks w apart from the step (Loshchilov and Hutter, arXiv:1711.05101).
    """
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients, 1):
        g = gradient if decoupled else gradient + decay * w
        if decoupled:
            w = w - lr * decay * w
        m, v = _averages(m, v, g, betas)
        w = w - lr * _adam_direction(m, v, t, betas, eps)
        yield w


def rmsprop(
    w: Array, gradients: Iterable[Array], *, lr: float, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0
) -> Steps:
    """w ← w - lr · g / (√v + eps), v an average of g² (Tieleman and Hinton 2012); momentum on the quotient."""
    v, step = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        v = alpha * v + (1 - alpha) * g**2
        step = momentum * step + g / (np.sqrt(v) + eps)
        w = w - lr * step
        yield w


def adagrad(w: Array, gradients: Iterable[Array], *, lr: float, eps: float = 1e-10) -> Steps:
    """w ← w - lr · g / (√Σg² + eps), the sum over all steps so far (Duchi et al. 2011)."""
    total = np.zeros_like(w)
    for g in gradients:
        total = total + g**2
        w = w - lr * g / (np.sqrt(total) + eps)
        yield w


def lamb(
    w: Array, gradients: Iterable[Array], *, lr: float, betas: tuple[float, float], eps: float, decay: float = 0
) -> Steps:
    """u = m̂ / (√v̂ + eps) + λ w, then w ← w - lr · (|w| / |u|) u (You et al. 2019, arXiv:1904.00962).

    The ratio of norms is 1 where either is 0, and for weights of one dimension.
    """
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = _averages(m, v, g, betas)
        u = _adam_direction(m, v, t, betas, eps) + decay * w
        norms = np.sqrt((w**2).sum()), np.sqrt((u**2).sum())
        trust = norms[0] / norms[1] if w.ndim > 1 and min(norms) > 0 else 1.0
        w = w - lr * trust * u
        yield w


def muon(
    w: Array,
    gradients: Iterable[Array],
    *,
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    decay: float = 0,
) -> Steps:
    """v ← μ v + (1 - μ) g; w ← (1 - lr λ) w - lr √max(1, rows / columns) · orthogonal(v).

    Jordan et al. 2024, kellerjordan.github.io/posts/muon. Nesterov takes (1 - μ) g + μ v in place of v.
    """
    v = np.zeros_like(w)
    for g in gradients:
        v = momentum * v + (1 - momentum) * g
        step = newton_schulz((1 - momentum) * g + momentum * v if nesterov else v, 5 * [(3.4445, -4.7750, 2.0315)])
        w = (1 - lr * decay) * w - lr * max(1, w.shape[0] / w.shape[1]) ** 0.5 * step
        yield w


def newton_schulz(x: Array, polynomials: Sequence[tuple[float, float, float]]) -> Array:
    """What iterations x ← a x + b (x xᵀ) x + c (x xᵀ)² x give, by way of the singular values.

    With x = U S Vᵀ every step is U (a S + b S³ + c S⁵) Vᵀ, so only S changes: it starts as S / |S| and comes near 1.
    """
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s = s / max(np.sqrt((s**2).sum()), 1e-7)
    for a, b, c in polynomials:
        s = a * s + b * s**3 + c * s**5
    return (u * s) @ vt


def orthogonal(x: Array) -> Array:
    """U Vᵀ, the orthogonal matrix nearest to x = U S Vᵀ."""
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return u @ vt


def _averages(m: Array, v: Array, g: Array, betas: tuple[float, float]) -> tuple[Array, Array]:
    return betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2


def _adam_direction(m: Array, v: Array, t: int, betas: tuple[float, float], eps: float) -> Array:
    return (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
