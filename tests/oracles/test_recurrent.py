"""RNN, LSTM and GRU: PyTorch's modules against backpropagation through time by hand."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.oracles.against_torch import compare, each_dtype
from tests.oracles.finite_differences import check_backward
from tests.oracles.recurrent import recurrent, recurrent_backward

MODULES = {"rnn": (torch.nn.RNN, 1), "lstm": (torch.nn.LSTM, 4), "gru": (torch.nn.GRU, 3)}
SHAPES = [(5, 3, 4, 2), (1, 1, 1, 1), (7, 1, 2, 5), (2, 4, 3, 1), (3, 0, 2, 2)]
"""Steps, batch, inputs, hidden: also one step, one unit, and an empty batch."""

each_kind = pytest.mark.parametrize("kind", MODULES)


def make_inputs(kind, shape, scale=0.6):
    steps, batch, width, hidden = shape
    rows = MODULES[kind][1] * hidden
    shapes = {
        "x": (steps, batch, width),
        "w_ih": (rows, width),
        "w_hh": (rows, hidden),
        "b_ih": (rows,),
        "b_hh": (rows,),
        "h": (batch, hidden),
    }
    if kind == "lstm":
        shapes["c"] = (batch, hidden)
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape, scale=scale) for name, shape in shapes.items()}


def by_torch(kind, *, x, w_ih, w_hh, b_ih, b_hh, h, c=None):
    module = MODULES[kind][0](w_ih.shape[1], w_hh.shape[1]).to(x.dtype)
    weights = {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh, "bias_ih_l0": b_ih, "bias_hh_l0": b_hh}
    state = h[None] if c is None else (h[None], c[None])
    outputs, last = torch.func.functional_call(module, weights, (x, state))
    return (outputs, last[0]) if c is None else (outputs, last[0][0], last[1][0])


def by_hand(kind, *, x, w_ih, w_hh, b_ih, b_hh, **state):
    return recurrent(kind, x, w_ih, w_hh, b_ih, b_hh, *state.values())


def by_hand_backward(grad, kind, *, x, w_ih, w_hh, b_ih, b_hh, **state):
    return recurrent_backward(grad, kind, x, w_ih, w_hh, b_ih, b_hh, *state.values())


@each_dtype
@each_kind
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_agrees(kind, shape, dtype):
    backward = lambda grad, **inputs: by_hand_backward(grad, kind, **inputs)  # noqa: E731
    compare(partial(by_torch, kind), partial(by_hand, kind), backward, make_inputs(kind, shape), dtype)


@each_dtype
@each_kind
def test_saturated_gates(kind, dtype):
    backward = lambda grad, **inputs: by_hand_backward(grad, kind, **inputs)  # noqa: E731
    inputs = make_inputs(kind, (4, 2, 3, 3), scale=40.0)
    compare(partial(by_torch, kind), partial(by_hand, kind), backward, inputs, dtype)


@each_kind
def test_by_finite_differences(kind):
    backward = lambda grad, **inputs: by_hand_backward(grad, kind, **inputs)  # noqa: E731
    check_backward(partial(by_hand, kind), backward, make_inputs(kind, (4, 2, 3, 2)))


@each_kind
def test_a_sequence_in_two_parts_is_the_sequence_whole(kind):
    inputs = make_inputs(kind, (6, 2, 3, 4))
    whole, *last = by_hand(kind, **inputs)
    first, *state = by_hand(kind, **inputs | {"x": inputs["x"][:2]})
    rest = inputs | dict(zip("hc", state, strict=False)) | {"x": inputs["x"][2:]}
    second, *end = by_hand(kind, **rest)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    np.testing.assert_array_equal(end, last)
