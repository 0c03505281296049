"""Linear, embedding and convolution: PyTorch's against NumPy's, and NumPy's against finite differences."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.oracles import layers as oracle
from tests.oracles.against_torch import compare, each_dtype
from tests.oracles.finite_differences import check_backward

LINEAR = [((3, 5), 4), ((7,), 1), ((2, 3, 1), 9), ((0, 5), 3), ((4, 0), 2)]
"""(shape of the input, outputs): also a row alone, no rows, and rows of nothing."""

CONVOLUTIONS = {
    "1-D": ((2, 3, 11), (4, 3, 3), {}),
    "1-D, stride 3 that leaves a rest": ((1, 2, 12), (3, 2, 4), {"stride": 3}),
    "1-D, more padding than kernel": ((2, 1, 5), (2, 1, 2), {"padding": 4}),
    "1-D, kernel as long as the input": ((3, 2, 6), (1, 2, 6), {}),
    "1-D, kernel 1, stride 2": ((1, 3, 7), (5, 3, 1), {"stride": 2}),
    "1-D, dilated": ((2, 2, 13), (3, 2, 3), {"dilation": 4, "padding": 2}),
    "1-D, depthwise": ((2, 4, 9), (4, 1, 5), {"groups": 4, "padding": 2}),
    "2-D": ((2, 3, 6, 7), (4, 3, 3, 2), {}),
    "2-D, stride and padding": ((1, 2, 9, 8), (3, 2, 3, 3), {"stride": 2, "padding": 1}),
    "2-D, strides wider than the kernel": ((2, 1, 10, 7), (2, 1, 2, 2), {"stride": 4}),
    "2-D, groups": ((2, 6, 5, 5), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    "2-D, one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "2-D, an empty batch": ((0, 2, 5, 5), (3, 2, 3, 3), {}),
}


def linear_inputs(shape, outputs):
    random = np.random.default_rng(0)
    return {
        "x": random.normal(size=shape),
        "weight": random.normal(size=(outputs, shape[-1])),
        "bias": random.normal(size=outputs),
    }


@each_dtype
@pytest.mark.parametrize(("shape", "outputs"), LINEAR)
@pytest.mark.parametrize("biased", [True, False])
def test_linear(shape, outputs, biased, dtype):
    inputs = linear_inputs(shape, outputs)
    if not biased:
        del inputs["bias"]
    compare(
        lambda x, weight, bias=None: F.linear(x, weight, bias), oracle.linear, oracle.linear_backward, inputs, dtype
    )


def test_linear_by_finite_differences():
    check_backward(oracle.linear, oracle.linear_backward, linear_inputs((2, 3, 4), 5))


@each_dtype
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("index", [[[2, 0, 2], [5, 2, 2]], [4], []], ids=["repeated", "one", "none"])
def test_embedding(index, padding, dtype):
    inputs = {"weight": np.random.default_rng(0).normal(size=(6, 3)), "index": np.array(index, dtype=np.int64)}
    compare(
        lambda weight, index: F.embedding(index, weight, padding_idx=padding),
        oracle.embedding,
        partial(oracle.embedding_backward, padding=padding),
        inputs,
        dtype,
    )


def test_embedding_by_finite_differences():
    inputs = {"weight": np.random.default_rng(0).normal(size=(5, 2)), "index": np.array([[1, 1], [4, 0]])}
    check_backward(oracle.embedding, oracle.embedding_backward, inputs)


def convolution_inputs(name):
    shape, kernel, options = CONVOLUTIONS[name]
    random = np.random.default_rng(0)
    inputs = {"x": random.normal(size=shape), "weight": random.normal(size=kernel)}
    return inputs | {"bias": random.normal(size=kernel[0])}, options


@each_dtype
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("biased", [True, False])
def test_convolution(name, biased, dtype):
    inputs, options = convolution_inputs(name)
    if not biased:
        del inputs["bias"]
    function = F.conv1d if inputs["x"].ndim == 3 else F.conv2d
    compare(
        lambda x, weight, bias=None: function(x, weight, bias, **options),
        partial(oracle.convolution, **options),
        partial(oracle.convolution_backward, **options),
        inputs,
        dtype,
    )


@pytest.mark.parametrize("name", ["1-D, stride 3 that leaves a rest", "1-D, dilated", "2-D, groups"])
def test_convolution_by_finite_differences(name):
    inputs, options = convolution_inputs(name)
    check_backward(partial(oracle.convolution, **options), partial(oracle.convolution_backward, **options), inputs)


def test_a_channel_of_a_convolution_is_numpys_correlation():
    x, kernel = np.random.default_rng(0).normal(size=9), np.array([1.0, -2.0, 3.0])
    ours = oracle.convolution(x[None, None], kernel[None, None])
    np.testing.assert_allclose(ours[0, 0], np.correlate(x, kernel, mode="valid"))


def test_torch_refuses_a_kernel_larger_than_the_input():
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        F.conv1d(torch.zeros(1, 1, 3), torch.zeros(1, 1, 4))
