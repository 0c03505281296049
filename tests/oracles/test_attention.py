"""Attention: PyTorch's SDPA and each backend of `kernels.attention` against softmax(Q Kᵀ / √D) V by hand."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import kernels
from tests.oracles.against_torch import compare, each_dtype
from tests.oracles.attention import attention, attention_backward
from tests.oracles.finite_differences import check_backward

SHAPES = {
    "square": (2, 5, 5, 3, 3, 4),
    "one token": (1, 1, 1, 1, 1, 1),
    "grouped": (2, 7, 7, 6, 2, 3),
    "one key head": (1, 4, 4, 5, 1, 2),
    "fewer queries than keys": (2, 3, 9, 2, 2, 5),
    "more queries than keys": (1, 6, 2, 2, 1, 3),  # causal: the first queries see no key
    "an empty batch": (0, 3, 3, 2, 2, 2),
}
"""B, S, T, H, Hkv, D"""

each_shape = pytest.mark.parametrize("shape", SHAPES)
each_direction = pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])


def make_inputs(shape, scale=1.0):
    batch, length, keys, heads, kv_heads, width = SHAPES[shape]
    random = np.random.default_rng(0)
    sizes = {"q": (length, heads), "k": (keys, kv_heads), "v": (keys, kv_heads)}
    return {n: random.normal(size=(batch, *size, width), scale=scale) for n, size in sizes.items()}


def hold(function, inputs, dtype, *, tolerance=None, **options):
    forward, backward = partial(attention, **options), partial(attention_backward, **options)
    compare(function, forward, backward, inputs, dtype, tolerance=tolerance)


def padding_of(batch, keys):
    """Row by row: all keys, the first alone, none, and so on."""
    counts = [keys, 1, 0]
    return np.arange(keys) < np.array([counts[row % 3] for row in range(batch)])[:, None]


@each_dtype
@each_direction
@each_shape
@pytest.mark.parametrize("backend", ["sdpa", "reference", "auto"])
def test_our_attention(shape, causal, backend, dtype):
    def ours(q, k, v):
        return kernels.attention(q, k, v, causal=causal, backend=backend)

    hold(ours, make_inputs(shape), dtype, causal=causal)


@each_dtype
@each_direction
@pytest.mark.parametrize("backend", ["sdpa", "reference"])
def test_padding_also_of_whole_rows(causal, backend, dtype):
    random = np.random.default_rng(1)
    inputs = {name: random.normal(size=(3, 4, 2, 3)) for name in "qkv"}
    seen = padding_of(3, 4)

    def ours(q, k, v):
        return kernels.attention(q, k, v, causal=causal, key_padding=torch.from_numpy(seen), backend=backend)

    hold(ours, inputs, dtype, causal=causal, seen=seen)
    assert not attention(**inputs, causal=causal, seen=seen)[2].any()


@each_dtype
@each_direction
@pytest.mark.parametrize("backend", ["sdpa", "reference"])
def test_large_scores(causal, backend, dtype):
    def ours(q, k, v):
        return kernels.attention(q, k, v, causal=causal, backend=backend)

    inputs = make_inputs("square", scale=30.0)  # scores of some thousands: every softmax is nearly a choice
    # A weight's relative error is a score's absolute one.
    hold(ours, inputs, dtype, tolerance={torch.float64: 1e-11, torch.float32: 2e-3}[dtype], causal=causal)


@each_dtype
@each_direction
@pytest.mark.parametrize("shape", ["square", "grouped", "one token"])
def test_pytorchs_sdpa(shape, causal, dtype):
    def theirs(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).transpose(1, 2)

    hold(theirs, make_inputs(shape), dtype, causal=causal)


@each_direction
@pytest.mark.parametrize("shape", ["square", "grouped", "more queries than keys"])
def test_by_finite_differences(shape, causal):
    inputs = make_inputs(shape)
    seen = padding_of(SHAPES[shape][0], SHAPES[shape][2])
    for options in ({"causal": causal}, {"causal": causal, "seen": seen}):
        check_backward(partial(attention, **options), partial(attention_backward, **options), inputs)


@each_direction
def test_weights_are_an_average(causal):
    inputs = make_inputs("square")
    inputs["v"] = np.ones_like(inputs["v"])
    np.testing.assert_allclose(attention(**inputs, causal=causal), 1.0)
