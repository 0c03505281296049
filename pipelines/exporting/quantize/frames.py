"""How a product's matrix in a quantized graph came from the checkpoint's: what `rotation.py`, `smoothing.py` did to it.

An adapter's matrices go the same way, W + A B → L (W + A B) R = L W R + (L A) (B R), before they meet that graph's
activations.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np


@dataclass
class Frame:
    """Of one product, whose matrix is [K, N]. Turns are `orthogonal`'s, of blocks that wide; 0: none."""

    gain: np.ndarray | None = None
    """[K], which the rows were multiplied by, before they were turned."""
    turn_in: int = 0
    turn_out: int = 0
    turned: int = 0
    """How many of the last outputs `turn_out` turns."""
    factor: np.ndarray | None = None
    """[N], which the columns were multiplied by, after that."""

    def inner(self, matrix: np.ndarray) -> np.ndarray:
        """A [K, r] → L A."""
        if self.gain is not None:
            matrix = self.gain[:, None] * matrix
        if self.turn_in:
            blocks = matrix.reshape(-1, self.turn_in, matrix.shape[1])
            matrix = (orthogonal(self.turn_in).T @ blocks).reshape(matrix.shape)
        return matrix

    def outer(self, matrix: np.ndarray) -> np.ndarray:
        """B [r, N] → B R."""
        if self.turn_out:
            first = matrix.shape[1] - self.turned
            blocks = matrix[:, first:].reshape(len(matrix), -1, self.turn_out) @ orthogonal(self.turn_out)
            matrix = np.concatenate([matrix[:, :first], blocks.reshape(len(matrix), -1)], axis=1)
        return matrix if self.factor is None else matrix * self.factor


Frames = defaultdict[str, Frame]
"""By the output of a product."""


def new_frames() -> Frames:
    """Every matrix as it was."""
    return defaultdict(Frame)


def orthogonal(width: int) -> np.ndarray:
    """An orthogonal matrix [width, width] that mixes all channels: Hadamard's for the part of the width that is a power
    of two, a cosine transform for the rest, and fixed random signs."""
    odd = width // (width & -width)
    rows, columns = np.arange(odd)[:, None], np.arange(odd)[None]
    matrix = np.cos(np.pi * rows * (2 * columns + 1) / (2 * odd)) * np.sqrt(2 / odd)
    matrix[0] /= np.sqrt(2)
    while len(matrix) < width:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.sqrt(2)
    signs = np.where(np.random.default_rng(0).random(width) < 0.5, -1.0, 1.0)
    turn: np.ndarray = (matrix * signs).astype(np.float32)
    return turn
