"""Rounding weights to a grid so that products change least: GPTQ (Frantar et al. 2022, arXiv:2210.17323).

Inputs are taken one after another; what rounding a row of the matrix adds is subtracted from the rows that are still to
come, in proportion to how much their inputs go together with its own. NumPy only, deterministic.
"""

from dataclasses import dataclass

import numpy as np

DAMPING = 0.01
"""Added to the diagonal, as a part of its mean: inputs that the text never uses must not blow up."""

REACH = np.linspace(0.76, 1.04, 8)
"""Scales that `Grid.search` tries, as parts of the one that reaches all weights."""

PANEL = 64
"""Inputs after which what was left over is handed on to all later ones at once; it changes speed, not results."""


@dataclass(frozen=True)
class Grid:
    """w = (level - zero) · scale, one scale and zero for `block` inputs of an output: both [blocks, N]."""

    scales: np.ndarray
    zeros: np.ndarray
    bits: int
    block: int

    @classmethod
    def fit(cls, weight: np.ndarray, bits: int, block: int) -> "Grid":
        """The grid that reaches from the smallest to the largest weight [K, N] of each block."""
        padded = in_blocks(weight, block)
        low, high = np.minimum(padded.min(1), 0), np.maximum(padded.max(1), 0)
        most = 2**bits - 1
        scales = bfloat16((high - low) / most)
        scales[scales == 0] = 1
        return cls(scales, np.clip(np.rint(-low / scales), 0, most), bits, block)

    @classmethod
    def search(cls, weight: np.ndarray, bits: int, block: int, sizes: np.ndarray) -> "Grid":
        """The grid with the least squared error, inputs weighted by their mean squares `sizes` [K].

        Of those whose scale is REACH of `fit`'s and which lie around the middle of the block's weights, give or take
        one level (range setting by mean squared error: Nagel et al. 2021, arXiv:2106.08295, 3.1).
        """
        widest, most = cls.fit(weight, bits, block), 2**bits - 1
        scales, zeros = np.empty_like(widest.scales), np.empty_like(widest.zeros)
        shares = in_blocks(sizes[:, None].astype(np.float32), block)
        shares[~shares.any(axis=(1, 2))] = 1  # blocks of inputs that the text never uses: all their weights count alike
        for i, (part, share) in enumerate(zip(in_blocks(weight, block), shares, strict=True)):  # [block, N], [block, 1]
            middle = (np.minimum(part.min(0), 0) + np.maximum(part.max(0), 0)) / 2
            best = np.full(weight.shape[1], np.inf, np.float32)
            for reach in REACH:
                scale = bfloat16(widest.scales[i] * np.float32(reach))
                steps = part / scale
                for shift in (-1, 0, 1):
                    zero = np.clip(np.rint(most / 2 - middle / scale) + shift, 0, most)
                    rounded = np.clip(np.rint(steps) + zero, 0, most) - zero
                    error = (np.square(rounded - steps) * share).sum(0) * np.square(scale)
                    better = error < best
                    best[better], scales[i, better], zeros[i, better] = error[better], scale[better], zero[better]
        return cls(scales, zeros, bits, block)

    @classmethod
    def symmetric(cls, weight: np.ndarray) -> "Grid":
        """One scale for each output of a matrix [K, N], 8 bits, zero in the middle."""
        scales = np.abs(weight).max(0, keepdims=True) / 127
        scales[scales == 0] = 1
        return cls(scales.astype(np.float32), np.full_like(scales, 128), 8, len(weight))

    def levels(self, weight: np.ndarray, start: int = 0) -> np.ndarray:
        """The nearest levels, uint8, of rows [start, start + len(weight)) of a matrix."""
        rows = (start + np.arange(len(weight))) // self.block
        nearest = np.rint(weight / self.scales[rows]) + self.zeros[rows]
        return np.clip(nearest, 0, 2**self.bits - 1).astype(np.uint8)

    def values(self, levels: np.ndarray, start: int = 0) -> np.ndarray:
        """The weights that levels stand for."""
        rows = (start + np.arange(len(levels))) // self.block
        return (levels - self.zeros[rows]) * self.scales[rows]


def compensate(weight: np.ndarray, grid: Grid, second: np.ndarray) -> np.ndarray:
    """Levels [K, N], uint8, of a matrix whose inputs have the second moments `second` [K, K].

    The largest inputs go first, while there are many left to make up for them (`act_order` in the authors' code).
    """
    width = len(weight)
    order = np.argsort(-np.diag(second), kind="stable")
    moments = second[np.ix_(order, order)].astype(np.float64)
    moments[np.diag_indices(width)] += DAMPING * np.mean(np.diag(moments)) + 1e-12
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T.astype(np.float32)  # upper triangular
    rest = weight[order].astype(np.float32)
    levels = np.empty(weight.shape, np.uint8)
    for begin in range(0, width, PANEL):
        end = min(begin + PANEL, width)
        errors = np.empty((end - begin, weight.shape[1]), np.float32)
        for row in range(begin, end):
            place = int(order[row])
            rounded = grid.levels(rest[row : row + 1], place)
            levels[place] = rounded[0]
            error = (rest[row] - grid.values(rounded, place)[0]) / factor[row, row]
            rest[row:end] -= np.outer(factor[row, row:end], error)
            errors[row - begin] = error
        rest[end:] -= factor[begin:end, end:].T @ errors
    return levels


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Positive float32 rounded up to 8 bits of precision: half the bytes, and nothing falls out of a grid's reach."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)


def in_blocks(matrix: np.ndarray, block: int) -> np.ndarray:
    """[K, N] → [blocks, block, N], the last one filled up with noughts."""
    width, outputs = matrix.shape
    blocks = -(-width // block)
    padded = np.zeros((blocks * block, outputs), matrix.dtype)
    padded[:width] = matrix
    return padded.reshape(blocks, block, outputs)
