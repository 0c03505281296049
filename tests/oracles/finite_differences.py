"""Gradients by central differences: slow, and so simple that they can be trusted.

    (L(x + h) - L(x - h)) / 2h for each element, L = Σ of the outputs times fixed numbers

With h = 1e-5 and float64 the error is about 1e-10, as long as no kink lies within h.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

STEP = 1e-5


def check_backward(
    forward: Callable[..., Any],
    backward: Callable[..., dict[str, np.ndarray]],
    inputs: dict[str, np.ndarray],
    *,
    tolerance: float = 1e-7,
) -> None:
    """Assert that `backward(grad, **inputs)` is the gradient of `forward(**inputs)`, for each float input."""
    factors = random_like(forward(**inputs))
    found = backward(factors if len(factors) > 1 else factors[0], **inputs)
    assert set(found) == {name for name, value in inputs.items() if value.dtype.kind == "f"}

    def loss() -> float:
        return sum(float((out * f).sum()) for out, f in zip(as_tuple(forward(**inputs)), factors, strict=True))

    for name, gradient in found.items():
        assert gradient.shape == inputs[name].shape, name
        numeric = np.empty_like(gradient)
        for place in np.ndindex(*gradient.shape):
            value = inputs[name][place]
            inputs[name][place] = value + STEP
            above = loss()
            inputs[name][place] = value - STEP
            numeric[place] = (above - loss()) / (2 * STEP)
            inputs[name][place] = value
        np.testing.assert_allclose(gradient, numeric, rtol=tolerance, atol=tolerance, err_msg=name)


def as_tuple(outputs: Any) -> tuple[np.ndarray, ...]:
    """One output or several, as several."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def random_like(outputs: Any) -> tuple[np.ndarray, ...]:
    """Fixed normal numbers in the outputs' shapes: the gradient of some loss to them."""
    random = np.random.default_rng(7)
    return tuple(random.normal(size=np.shape(out)) for out in as_tuple(outputs))
