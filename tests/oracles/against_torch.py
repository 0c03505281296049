"""Outputs and gradients of a torch function beside those of an oracle, from the same inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from tests.oracles.finite_differences import as_tuple, random_like

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Largest error over the largest value of the exact answer (or 1, where that is larger)."""

each_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=["float64", "float32"])


def compare(
    torch_function: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., dict[str, np.ndarray]],
    inputs: Mapping[str, np.ndarray],
    dtype: torch.dtype,
    *,
    tolerance: float | None = None,
) -> None:
    """Assert that torch's outputs and gradients are the oracle's. The functions take `inputs` by name.

    Floats become tensors of `dtype`; the oracle takes what these hold, in float64, so that only torch rounds.
    """
    tolerance = tolerance or TOLERANCES[dtype]
    tensors = {name: as_tensor(value, dtype) for name, value in inputs.items()}
    exact = {name: tensor.detach().numpy().astype(inputs[name].dtype) for name, tensor in tensors.items()}
    outputs, expected = as_tuple(torch_function(**tensors)), as_tuple(forward(**exact))
    grads = tuple(torch.tensor(grad, dtype=out.dtype) for grad, out in zip(random_like(expected), outputs, strict=True))
    torch.autograd.backward(outputs, grads)
    factors = tuple(grad.double().numpy() for grad in grads)
    gradients = backward(factors if len(factors) > 1 else factors[0], **exact)
    for number, (out, wanted) in enumerate(zip(outputs, expected, strict=True)):
        assert_close(out, wanted, tolerance, f"output {number}")
    assert set(gradients) == {name for name, tensor in tensors.items() if tensor.requires_grad}
    for name, wanted in gradients.items():
        assert_close(tensors[name].grad, wanted, tolerance, f"gradient to {name}")


def as_tensor(value: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """A leaf that wants a gradient where the array holds floats; integers and booleans as they are."""
    if value.dtype.kind == "f":
        return torch.tensor(value, dtype=dtype, requires_grad=True)
    return torch.from_numpy(value)


def assert_close(actual: torch.Tensor | None, expected: Any, tolerance: float, what: str) -> None:
    """Equal shapes, no NaN, and an error of at most `tolerance` of the largest expected value."""
    assert actual is not None, f"{what}: torch gave none"
    numbers, expected = actual.detach().double().numpy(), np.asarray(expected)
    assert numbers.shape == expected.shape, what
    assert np.isfinite(numbers).all(), f"{what} is not finite"
    largest = max(1.0, np.abs(expected).max(initial=0.0))
    error = np.abs(numbers - expected).max(initial=0.0) / largest
    assert error <= tolerance, f"{what} is off by {error:.1e} of {largest:.1e}"
