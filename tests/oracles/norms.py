"""Normalisation: layer norm, RMS norm, batch norm in training and in evaluation.

All share one gradient. With x̂ = (x - mean) / σ over a set of n elements, and g the gradient to x̂:

    dx = (g - mean(g) - x̂ · mean(g ∘ x̂)) / σ

The second term is absent where no mean is subtracted, the last two where the statistics are constants.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """x̂ · weight + bias, over the last dimension (Ba et al. 2016, arXiv:1607.06450); σ² is the mean square + eps."""
    return _standardised(x, (-1,), eps)[0] * weight + bias


def layer_norm_backward(grad: Array, x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> dict[str, Array]:
    """The common gradient with g = grad · weight."""
    hat, sigma = _standardised(x, (-1,), eps)
    g, rows = grad * weight, tuple(range(x.ndim - 1))
    to_x = (g - g.mean(-1, keepdims=True) - hat * (g * hat).mean(-1, keepdims=True)) / sigma
    return {"x": to_x, "weight": (grad * hat).sum(rows), "bias": grad.sum(rows)}


def rms_norm(x: Array, weight: Array, eps: float = 1e-5) -> Array:
    """x / √(mean(x²) + eps) · weight, over the last dimension (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def rms_norm_backward(grad: Array, x: Array, weight: Array, eps: float = 1e-5) -> dict[str, Array]:
    """The common gradient without the term of the mean."""
    sigma = np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    hat, g = x / sigma, grad * weight
    to_x = (g - hat * (g * hat).mean(-1, keepdims=True)) / sigma
    return {"x": to_x, "weight": (grad * hat).sum(tuple(range(x.ndim - 1)))}


def batch_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Training: x [N, C, *S], each channel by its own mean and variance (Ioffe and Szegedy 2015, arXiv:1502.03167)."""
    return _standardised(x, _places(x), eps)[0] * _channels(weight, x) + _channels(bias, x)


def batch_norm_backward(grad: Array, x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> dict[str, Array]:
    """The common gradient over the batch and all places of a channel."""
    over = _places(x)
    hat, sigma = _standardised(x, over, eps)
    g = grad * _channels(weight, x)
    to_x = (g - g.mean(over, keepdims=True) - hat * (g * hat).mean(over, keepdims=True)) / sigma
    return {"x": to_x, "weight": (grad * hat).sum(over), "bias": grad.sum(over)}


def running_statistics(x: Array, mean: Array, variance: Array, momentum: float = 0.1) -> tuple[Array, Array]:
    """What evaluation will use, after a training step on x: the step's variance counts with n / (n - 1)."""
    over = _places(x)
    return (
        (1 - momentum) * mean + momentum * x.mean(over),
        (1 - momentum) * variance + momentum * x.var(over, ddof=1),
    )


def batch_norm_eval(x: Array, weight: Array, bias: Array, *, mean: Array, variance: Array, eps: float = 1e-5) -> Array:
    """Evaluation: a fixed affine map of each channel, so an item's answer does not depend on its batch."""
    hat = (x - _channels(mean, x)) / np.sqrt(_channels(variance, x) + eps)
    return hat * _channels(weight, x) + _channels(bias, x)


def batch_norm_eval_backward(
    grad: Array, x: Array, weight: Array, bias: Array, *, mean: Array, variance: Array, eps: float = 1e-5
) -> dict[str, Array]:
    """dx = g / σ: the statistics are constants."""
    over, sigma = _places(x), np.sqrt(_channels(variance, x) + eps)
    hat = (x - _channels(mean, x)) / sigma
    return {"x": grad * _channels(weight, x) / sigma, "weight": (grad * hat).sum(over), "bias": grad.sum(over)}


def _standardised(x: Array, over: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """(x̂, σ); σ = √(variance + eps), the variance with n and not n - 1."""
    centred = x - x.mean(over, keepdims=True)
    sigma = np.sqrt((centred**2).mean(over, keepdims=True) + eps)
    return centred / sigma, sigma


def _places(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _channels(values: Array, x: Array) -> Array:
    """[C] so that it broadcasts over [N, C, *S]."""
    return values.reshape(-1, *[1] * (x.ndim - 2))
