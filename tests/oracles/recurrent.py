"""Recurrent layers (tanh RNN, LSTM, GRU) by backpropagation through time, with PyTorch's weights and order of gates.

A cell sees a = W_ih x + b_ih and u = W_hh h + b_hh and makes the next state of them; along time all cells are alike.
"""

import numpy as np
from numpy.typing import NDArray

from tests.oracles.activations import sigmoid

Array = NDArray[np.floating]
State = tuple[Array, ...]  # (h,), or (h, c) for the LSTM; [N, H] each


def rnn(a: Array, u: Array, state: State) -> tuple[State, State]:
    """h' = tanh(a + u) (Elman 1990)."""
    h = np.tanh(a + u)
    return (h,), (h,)


def rnn_backward(grad: State, saved: State) -> tuple[Array, Array, State]:
    """tanh' = 1 - tanh²; nothing reaches the earlier state but through u."""
    (h,) = saved
    both = grad[0] * (1 - h**2)
    return both, both, (np.zeros_like(h),)


def lstm(a: Array, u: Array, state: State) -> tuple[State, State]:
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c') (Hochreiter and Schmidhuber 1997); gates i, f, g, o."""
    i, f, g, o = np.split(a + u, 4, axis=-1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * state[1] + i * g
    return (o * np.tanh(c), c), (i, f, g, o, state[1], np.tanh(c))


def lstm_backward(grad: State, saved: State) -> tuple[Array, Array, State]:
    """The cell's gradient comes from later steps and from h'; times σ(f) it goes on to the earlier cell."""
    i, f, g, o, before, squashed = saved
    cell = grad[1] + grad[0] * o * (1 - squashed**2)
    to_i, to_f = cell * g * i * (1 - i), cell * before * f * (1 - f)
    to_g, to_o = cell * i * (1 - g**2), grad[0] * squashed * o * (1 - o)
    both = np.concatenate([to_i, to_f, to_g, to_o], axis=-1)
    return both, both, (np.zeros_like(cell), cell * f)


def gru(a: Array, u: Array, state: State) -> tuple[State, State]:
    """n = tanh(a_n + σ(r) u_n), h' = (1 - σ(z)) n + σ(z) h (Cho et al. 2014, arXiv:1406.1078); gates r, z, n."""
    (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(a, 3, axis=-1), np.split(u, 3, axis=-1)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = np.tanh(a_n + r * u_n)
    return ((1 - z) * n + z * state[0],), (r, z, n, u_n, state[0])


def gru_backward(grad: State, saved: State) -> tuple[Array, Array, State]:
    """The reset gate multiplies u_n alone, so the gradients to a and to u differ in their third part."""
    r, z, n, u_n, before = saved
    to_n = grad[0] * (1 - z) * (1 - n**2)
    to_r, to_z = to_n * u_n * r * (1 - r), grad[0] * (before - n) * z * (1 - z)
    to_a = np.concatenate([to_r, to_z, to_n], axis=-1)
    to_u = np.concatenate([to_r, to_z, to_n * r], axis=-1)
    return to_a, to_u, (grad[0] * z,)


CELLS = {"rnn": (rnn, rnn_backward), "lstm": (lstm, lstm_backward), "gru": (gru, gru_backward)}


def recurrent(
    kind: str, x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, *state: Array
) -> tuple[Array, ...]:
    """x [T, N, I], w_ih [G·H, I], w_hh [G·H, H], biases [G·H], state [N, H] each → (h of all steps, *last state)."""
    outputs, last, _ = _unroll(kind, x, w_ih, w_hh, b_ih, b_hh, state)
    return outputs, *last


def recurrent_backward(
    grad: tuple[Array, ...],
    kind: str,
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array,
    b_hh: Array,
    *state: Array,
) -> dict[str, Array]:
    """From the last step to the first: what a step hands back is added to what its own output gets.

    `grad`: to the outputs [T, N, H], then to each part of the last state. The first state's are named h and c.
    """
    _, _, steps = _unroll(kind, x, w_ih, w_hh, b_ih, b_hh, state)
    to_outputs, *carried = grad
    found = {"w_ih": np.zeros_like(w_ih), "w_hh": np.zeros_like(w_hh), "b_ih": 0 * b_ih, "b_hh": 0 * b_hh}
    found["x"] = np.zeros_like(x)
    for t in reversed(range(len(x))):
        before, saved = steps[t]
        to_a, to_u, past = CELLS[kind][1]((carried[0] + to_outputs[t], *carried[1:]), saved)
        found["w_ih"] += to_a.T @ x[t]
        found["w_hh"] += to_u.T @ before[0]
        found["b_ih"] += to_a.sum(axis=0)
        found["b_hh"] += to_u.sum(axis=0)
        found["x"][t] = to_a @ w_ih
        carried = [past[0] + to_u @ w_hh, *past[1:]]
    return found | dict(zip("hc", carried, strict=False))


def _unroll(kind, x, w_ih, w_hh, b_ih, b_hh, state):
    """(outputs [T, N, H], the last state, for each step (the state before it, what its cell saved))."""
    outputs, steps = [], []
    for x_t in x:
        before = state
        state, saved = CELLS[kind][0](x_t @ w_ih.T + b_ih, before[0] @ w_hh.T + b_hh, before)
        outputs.append(state[0])
        steps.append((before, saved))
    return np.stack(outputs), state, steps
