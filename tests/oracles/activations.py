"""Activation functions and their derivatives: for y = f(x) the gradient is dL/dx = dL/dy · f'(x), element by element.

At a kink (ReLU, leaky ReLU at 0) the derivative is the one from the left, as in PyTorch.
"""

from math import erf, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), written so that neither end overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def sigmoid_derivative(x: Array) -> Array:
    """σ (1 - σ)."""
    return sigmoid(x) * sigmoid(-x)


def tanh(x: Array) -> Array:
    """(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)."""
    return np.tanh(x)


def tanh_derivative(x: Array) -> Array:
    """1 - tanh² = 4 σ(2x) σ(-2x)."""
    return 4 * sigmoid(2 * x) * sigmoid(-2 * x)


def relu(x: Array) -> Array:
    """max(x, 0) (Nair and Hinton 2010)."""
    return np.maximum(x, 0)


def relu_derivative(x: Array) -> Array:
    """1 where x > 0, else 0."""
    return np.where(x > 0, 1.0, 0.0)


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """x where x > 0, else slope · x (Maas et al. 2013)."""
    return np.where(x > 0, x, slope * x)


def leaky_relu_derivative(x: Array, slope: float = 0.01) -> Array:
    """1 where x > 0, else the slope."""
    return np.where(x > 0, 1.0, slope)


def normal_cdf(x: Array) -> Array:
    """Φ(x), the share of a normal distribution below x: (1 + erf(x / √2)) / 2."""
    return (1 + np.vectorize(erf, otypes=[np.float64])(x / sqrt(2))) / 2


def gelu(x: Array) -> Array:
    """x Φ(x) (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return x * normal_cdf(x)


def gelu_derivative(x: Array) -> Array:
    """Φ(x) + x φ(x), where φ is the normal density."""
    return normal_cdf(x) + x * np.exp(-(x**2) / 2) / sqrt(2 * pi)


def gelu_tanh(x: Array) -> Array:
    """GPT-2's approximation of GELU: x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    return x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3))  # (1 + tanh u) / 2 = σ(2u)


def gelu_tanh_derivative(x: Array) -> Array:
    """σ(2u) + x σ'(2u) · 2u', with u = √(2/π) (x + 0.044715 x³)."""
    u = sqrt(2 / pi) * (x + 0.044715 * x**3)
    du = sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2)
    return sigmoid(2 * u) + x * sigmoid_derivative(2 * u) * 2 * du


def swish(x: Array, beta: float = 1.0) -> Array:
    """x σ(βx); SiLU where β = 1 (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return x * sigmoid(beta * x)


def swish_derivative(x: Array, beta: float = 1.0) -> Array:
    """σ(βx) + βx σ'(βx)."""
    return sigmoid(beta * x) + beta * x * sigmoid_derivative(beta * x)
