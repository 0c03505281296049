"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762), with every score in memory.

Grouped-query attention: query head h uses key head h // (H / Hkv). The last query lines up with the last key. A query
that sees no key gives zero, and gives no gradient.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def attention(q: Array, k: Array, v: Array, *, causal: bool = False, seen: NDArray[np.bool_] | None = None) -> Array:
    """softmax(Q Kᵀ / √D) V. q [B, S, H, D], k and v [B, T, Hkv, D], seen: bool [B, T] keys → [B, S, H, D]."""
    group = q.shape[2] // k.shape[2]
    return np.einsum("bhst,bthd->bshd", _weights(q, k, causal, seen), v.repeat(group, axis=2))


def attention_backward(
    grad: Array, q: Array, k: Array, v: Array, *, causal: bool = False, seen: NDArray[np.bool_] | None = None
) -> dict[str, Array]:
    """With P the weights and G the gradient: dV = Pᵀ G, dP = G Vᵀ, dS = P ∘ (dP - rowsum(P ∘ dP)), dQ = dS K / √D.

    A key head's gradient is the sum over the query heads that share it.
    """
    group, scale = q.shape[2] // k.shape[2], q.shape[3] ** -0.5
    weights = _weights(q, k, causal, seen)
    to_weights = np.einsum("bshd,bthd->bhst", grad, v.repeat(group, axis=2))
    to_scores = weights * (to_weights - (weights * to_weights).sum(axis=-1, keepdims=True)) * scale
    to_q = np.einsum("bhst,bthd->bshd", to_scores, k.repeat(group, axis=2))
    to_k = np.einsum("bhst,bshd->bthd", to_scores, q)
    to_v = np.einsum("bhst,bshd->bthd", weights, grad)
    heads = (*k.shape[:3], group, k.shape[3])
    return {"q": to_q, "k": to_k.reshape(heads).sum(axis=3), "v": to_v.reshape(heads).sum(axis=3)}


def _weights(q: Array, k: Array, causal: bool, seen: NDArray[np.bool_] | None) -> Array:
    """[B, H, S, T]: each query's weights of the keys; they sum to 1, or to 0 where it sees none."""
    (batch, length, heads, width), keys = q.shape, k.shape[1]
    scores = np.einsum("bshd,bthd->bhst", q, k.repeat(heads // k.shape[2], axis=2)) * width**-0.5
    allowed = np.ones((batch, 1, length, keys), dtype=bool)
    if causal:
        allowed &= np.arange(keys) <= np.arange(length)[:, None] + keys - length
    if seen is not None:
        allowed &= seen[:, None, None, :]
    scores = np.where(allowed, scores, -np.inf)
    highest = scores.max(axis=-1, keepdims=True, initial=-1e300)  # of no keys at all: a number, so that no NaN appears
    weights = np.exp(scores - highest)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)
