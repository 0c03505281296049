"""Adapters over one base: the bank of their weights, which a graph that was exported with room for them reads.

The bank is memory of ours that the graph's session is bound to: an adapter is put in, or another one in its place,
without loading the graph again. Row 0 is no adapter.
"""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

BFLOAT16 = 16
"""ONNX's number for it; NumPy has no such type, so its bits are kept as uint16."""


@dataclass(frozen=True)
class Adapter:
    """What a request goes through beside the base's own weights."""

    row: int
    """Of the bank; 0: nothing."""
    key: str
    """Of its weights: what one adapter has computed of a text is of no use to another."""


NONE = Adapter(0, "")


class Bank:
    """The weights of up to `count` adapters, of `size` numbers each. Rows that were never written to take no memory."""

    def __init__(self, count: int, size: int) -> None:
        self.weights = np.zeros((count + 1, size), np.uint16)

    def put(self, row: int, weights: np.ndarray) -> None:
        """Put an adapter's weights, the bits of bfloat16 [size], in a row; no sequence may be using it.

        Raises ValueError for row 0, which stays empty, and for weights of another size.
        """
        if not 0 < row < len(self.weights) or weights.shape != self.weights[row].shape:
            raise ValueError(f"no room in row {row} for weights {weights.shape}")
        self.weights[row] = weights

    def shared(self) -> ort.OrtValue:
        """As the graph's input, in the same memory."""
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(self.weights, BFLOAT16)
