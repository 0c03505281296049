"""Activations: PyTorch's, and our squared ReLU and SwiGLU, against the written-out formulas."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kernels import relu2, swiglu
from tests.oracles import activations as oracle
from tests.oracles.against_torch import compare, each_dtype
from tests.oracles.finite_differences import check_backward

CASES = {
    "sigmoid": (torch.sigmoid, oracle.sigmoid, oracle.sigmoid_derivative),
    "tanh": (torch.tanh, oracle.tanh, oracle.tanh_derivative),
    "relu": (F.relu, oracle.relu, oracle.relu_derivative),
    "leaky_relu": (F.leaky_relu, oracle.leaky_relu, oracle.leaky_relu_derivative),
    "leaky_relu, 0.2": (
        partial(F.leaky_relu, negative_slope=0.2),
        partial(oracle.leaky_relu, slope=0.2),
        partial(oracle.leaky_relu_derivative, slope=0.2),
    ),
    "gelu": (F.gelu, oracle.gelu, oracle.gelu_derivative),
    "gelu_tanh": (partial(F.gelu, approximate="tanh"), oracle.gelu_tanh, oracle.gelu_tanh_derivative),
    "swish": (F.silu, oracle.swish, oracle.swish_derivative),
    "swish, 1.7": (
        lambda x: x * torch.sigmoid(1.7 * x),
        partial(oracle.swish, beta=1.7),
        partial(oracle.swish_derivative, beta=1.7),
    ),
}
EXTREME = np.array([-1e4, -700.0, -20.0, -1e-12, -0.0, 0.0, 1e-12, 20.0, 700.0, 1e4])
SHAPES = [(0,), (1,), (3, 0, 2), (17, 5)]


def backward(derivative):
    return lambda grad, x: {"x": grad * derivative(x)}


@each_dtype
@pytest.mark.parametrize("name", CASES)
def test_torch_agrees(name, dtype):
    function, forward, derivative = CASES[name]
    for x in (EXTREME, *(np.random.default_rng(1).normal(scale=3, size=shape) for shape in SHAPES)):
        compare(lambda x: function(x), forward, backward(derivative), {"x": x}, dtype)


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_is_one(name):
    _, forward, derivative = CASES[name]
    check_backward(forward, backward(derivative), {"x": np.random.default_rng(2).normal(scale=2, size=(5, 7))})


@pytest.mark.parametrize("name", CASES)
def test_not_a_number_stays_one(name):
    function, forward, _ = CASES[name]
    assert np.isnan(forward(np.array([np.nan]))).all()
    assert function(torch.tensor([torch.nan])).isnan().all()


def swiglu_oracle(gate_up):
    gate, up = np.split(gate_up, 2, axis=-1)
    return oracle.swish(gate) * up


def swiglu_backward(grad, gate_up):
    gate, up = np.split(gate_up, 2, axis=-1)
    parts = [grad * up * oracle.swish_derivative(gate), grad * oracle.swish(gate)]
    return {"gate_up": np.concatenate(parts, axis=-1)}


@each_dtype
def test_our_swiglu(dtype):
    for shape in ((1, 2), (3, 5, 14), (0, 6)):
        gate_up = np.random.default_rng(3).normal(scale=3, size=shape)
        compare(swiglu, swiglu_oracle, swiglu_backward, {"gate_up": gate_up}, dtype)
    check_backward(swiglu_oracle, swiglu_backward, {"gate_up": np.random.default_rng(4).normal(size=(2, 6))})


@each_dtype
def test_our_squared_relu(dtype):
    for x in (EXTREME[1:-1], np.random.default_rng(5).normal(size=(4, 9)), np.zeros((2, 0))):
        compare(
            relu2,
            lambda x: oracle.relu(x) ** 2,
            lambda grad, x: {"x": grad * 2 * oracle.relu(x) * oracle.relu_derivative(x)},
            {"x": x},
            dtype,
        )
