"""Layer norm, RMS norm and batch norm: PyTorch's and ours against the formulas."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kernels import rms_norm
from tests.oracles import norms as oracle
from tests.oracles.against_torch import TOLERANCES, as_tensor, assert_close, compare, each_dtype
from tests.oracles.finite_differences import check_backward

ROWS = {
    "rows": np.random.default_rng(0).normal(size=(3, 4, 7)),
    "one row": np.random.default_rng(1).normal(size=(5,)),
    "one element a row": np.random.default_rng(2).normal(size=(4, 1)),
    "no rows": np.zeros((0, 6)),
    "constant": np.full((2, 5), 3.0),  # no variance: the output is the bias, the gradient is divided by √eps
    "zero": np.zeros((2, 5)),
    "far from zero": np.random.default_rng(3).normal(size=(3, 8)) + 100,
}
CHANNELS = {
    "table": np.random.default_rng(0).normal(size=(6, 3)),
    "series": np.random.default_rng(1).normal(size=(2, 4, 5)),
    "images": np.random.default_rng(2).normal(size=(3, 2, 4, 3)),
    "one image": np.random.default_rng(3).normal(size=(1, 3, 2, 2)),
    "constant": np.full((4, 2, 3), -2.0),
    "far from zero": np.random.default_rng(4).normal(size=(5, 3)) + 100,
}
each_rows = pytest.mark.parametrize("x", ROWS.values(), ids=ROWS)
each_channels = pytest.mark.parametrize("x", CHANNELS.values(), ids=CHANNELS)


def affine(size, *, bias=True):
    random = np.random.default_rng(9)
    found = {"weight": random.normal(size=size)}
    return found | {"bias": random.normal(size=size)} if bias else found


def tolerance(x, over, dtype):
    """The mean is rounded as x is, and dividing by σ makes much of it where x - mean is small beside x."""
    sigma = np.sqrt(x.var(over) + 1e-5).min(initial=1)
    return max(TOLERANCES[dtype], 4 * torch.finfo(dtype).eps * np.abs(x).max(initial=0) / sigma)


@each_dtype
@each_rows
def test_layer_norm(x, dtype):
    def theirs(x, weight, bias):
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    inputs = {"x": x, **affine(x.shape[-1])}
    bound = tolerance(x, -1, dtype)
    compare(theirs, oracle.layer_norm, oracle.layer_norm_backward, inputs, dtype, tolerance=bound)


@each_dtype
@each_rows
@pytest.mark.parametrize("function", [rms_norm, lambda x, eps: F.rms_norm(x, x.shape[-1:], None, eps)])
def test_rms_norm(x, function, dtype):
    inputs = {"x": x, **affine(x.shape[-1], bias=False)}
    compare(lambda x, weight: function(x, 1e-5) * weight, oracle.rms_norm, oracle.rms_norm_backward, inputs, dtype)


@each_dtype
@each_channels
def test_batch_norm_in_training(x, dtype):
    inputs = {"x": x, **affine(x.shape[1])}
    mean, variance = torch.full((x.shape[1],), 0.5, dtype=dtype), torch.full((x.shape[1],), 2.0, dtype=dtype)

    def theirs(x, weight, bias):
        return F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=0.3)

    bound = tolerance(x, (0, *range(2, x.ndim)), dtype)
    compare(theirs, oracle.batch_norm, oracle.batch_norm_backward, inputs, dtype, tolerance=bound)
    before = np.full(x.shape[1], 0.5), np.full(x.shape[1], 2.0)
    exact = as_tensor(x, dtype).detach().double().numpy()
    for ours, wanted in zip((mean, variance), oracle.running_statistics(exact, *before, 0.3), strict=True):
        assert_close(ours, wanted, bound, "running statistics")


@each_dtype
@each_channels
def test_batch_norm_in_evaluation(x, dtype):
    random = np.random.default_rng(5)
    statistics = {"mean": random.normal(size=x.shape[1]), "variance": random.uniform(0.0, 2, size=x.shape[1])}
    statistics["variance"][0] = 0.0  # a channel that never varied
    statistics = {name: as_tensor(value, dtype).detach() for name, value in statistics.items()}
    exact = {name: value.double().numpy() for name, value in statistics.items()}

    def theirs(x, weight, bias):
        return F.batch_norm(x, statistics["mean"], statistics["variance"], weight, bias, training=False)

    compare(
        theirs,
        partial(oracle.batch_norm_eval, **exact),
        partial(oracle.batch_norm_eval_backward, **exact),
        {"x": x, **affine(x.shape[1])},
        dtype,
    )


def test_a_module_in_evaluation_does_not_see_the_batch():
    module = torch.nn.BatchNorm1d(3).double()
    x = as_tensor(CHANNELS["far from zero"], torch.float64).detach()
    for _ in range(4):
        module(x)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(4):
        mean, variance = oracle.running_statistics(x.numpy(), mean, variance)
    module.eval()
    wanted = oracle.batch_norm_eval(x.numpy(), np.ones(3), np.zeros(3), mean=mean, variance=variance)
    assert_close(module(x), wanted, 1e-12, "whole batch")
    assert_close(module(x[1:2]), wanted[1:2], 1e-12, "alone")
    assert_close(module.running_mean, mean, 1e-12, "the mean is not updated in evaluation")


def test_torch_refuses_to_train_on_one_value_a_channel():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(torch.ones(1, 3), None, None, training=True)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "batch_norm", "batch_norm_eval"])
def test_by_finite_differences(name):
    x = np.random.default_rng(6).normal(size=(4, 3, 5) if "batch" in name else (3, 5))
    inputs = {"x": x, **affine(x.shape[1] if "batch" in name else x.shape[-1], bias=name != "rms_norm")}
    options = {"mean": np.array([0.1, -1, 2]), "variance": np.array([1.0, 0.3, 4])} if "eval" in name else {}
    forward, backward = getattr(oracle, name), getattr(oracle, f"{name}_backward")
    check_backward(partial(forward, **options), partial(backward, **options), inputs)
