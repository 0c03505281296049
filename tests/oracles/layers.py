"""Layers without memory: linear, embedding, convolution.

Each `NAME_backward(grad, ...)` takes the gradient of the loss to the layer's output, and the layer's inputs again; it
gives {input: gradient of the loss to it}.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x Wᵀ + b. x [..., I], weight [O, I], bias [O] → [..., O]."""
    return x @ weight.T + (0 if bias is None else bias)


def linear_backward(grad: Array, x: Array, weight: Array, bias: Array | None = None) -> dict[str, Array]:
    """dx = g W, dW = gᵀ x, db = Σ g: the sums run over all leading dimensions."""
    rows = tuple(range(x.ndim - 1))
    found = {"x": grad @ weight, "weight": np.tensordot(grad, x, axes=[rows, rows])}
    return found if bias is None else found | {"bias": grad.sum(axis=rows)}


def embedding(weight: Array, index: NDArray[np.integer]) -> Array:
    """Row `index` of the table: weight [V, W], index [...] → [..., W]."""
    return weight[index]


def embedding_backward(
    grad: Array, weight: Array, index: NDArray[np.integer], padding: int | None = None
) -> dict[str, Array]:
    """A row's gradient is the sum over all places where it was looked up; the row of padding gets none."""
    found = np.zeros_like(weight)
    np.add.at(found, index, grad)
    if padding is not None:
        found[padding] = 0
    return {"weight": found}


def convolution(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation in any number of dimensions: x [N, C, *S], weight [K, C / groups, *kernel] → [N, K, *out].

    y[n, k, p] = b[k] + Σ_c Σ_o weight[k, c, o] · x[n, c, stride · p + dilation · o - padding]; zeros lie outside x.
    An output has (size + 2 padding - dilation (kernel - 1) - 1) // stride + 1 places.
    """
    padded = _pad(x, padding)
    parts = []
    for part, kernel in zip(np.split(padded, groups, axis=1), np.split(weight, groups), strict=True):
        total = None
        for offset, seen in _places(padded.shape, weight.shape, stride, dilation):
            term = np.einsum("nc...,kc->nk...", part[seen], kernel[(..., *offset)])
            total = term if total is None else total + term
        parts.append(total)
    y = np.concatenate(parts, axis=1)
    return y if bias is None else y + bias.reshape(-1, *[1] * (x.ndim - 2))


def convolution_backward(
    grad: Array,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> dict[str, Array]:
    """Each product of the forward sum gives its factor's share to the other factor."""
    padded = _pad(x, padding)
    to_padded, to_weight = np.zeros_like(padded), np.zeros_like(weight)
    for part, kernel, share, to_part, to_kernel in zip(
        np.split(padded, groups, axis=1),
        np.split(weight, groups),
        np.split(grad, groups, axis=1),
        np.split(to_padded, groups, axis=1),  # views: what is added to them is added to the whole
        np.split(to_weight, groups),
        strict=True,
    ):
        for offset, seen in _places(padded.shape, weight.shape, stride, dilation):
            to_part[seen] += np.einsum("nk...,kc->nc...", share, kernel[(..., *offset)])
            to_kernel[(..., *offset)] = np.tensordot(share, part[seen], axes=[[0, *range(2, x.ndim)]] * 2)
    inner = tuple(slice(padding, padding + size) for size in x.shape[2:])
    found = {"x": to_padded[(..., *inner)], "weight": to_weight}
    return found if bias is None else found | {"bias": grad.sum(axis=(0, *range(2, x.ndim)))}


def _pad(x: Array, padding: int) -> Array:
    return np.pad(x, [(0, 0), (0, 0)] + [(padding, padding)] * (x.ndim - 2))


def _places(padded, weight, stride, dilation):
    """For each offset in the kernel: (offset, the slice of the padded input that it meets)."""
    outputs = [(size - dilation * (k - 1) - 1) // stride + 1 for size, k in zip(padded[2:], weight[2:], strict=True)]
    for offset in np.ndindex(*weight[2:]):
        starts = [dilation * o for o in offset]
        inner = (slice(s, s + stride * (n - 1) + 1, stride) for s, n in zip(starts, outputs, strict=True))
        yield offset, (slice(None), slice(None), *inner)
