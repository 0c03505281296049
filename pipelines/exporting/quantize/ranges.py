"""Calibration: how large the channels of each value become on real text and how they go together, in float32.

It looks at what quantization needs: the inputs of products with constant weights, and the keys and values. Text comes
from the validation split, never from the test split that the result is judged on. It goes through the graph once.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize import probe

HEADROOM = 1.1  # for values beyond those that were seen; beyond it they are clipped


def measure(path: Path, windows: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run the graph at `path` on each window of token ids [S].

    Returns by value name the ranges, which are the largest magnitudes: [K] for inputs of products; [kv_heads, head_dim]
    for present.*, with headroom, and for keys that RoPE turns the length of each pair, which no position exceeds.
    And the second moments [K, K], float32, of the inputs of products.
    """
    proto = onnx.load(path)
    graph = Graph(proto.graph)
    inputs = sorted({node.input[0] for node in graph.products()})
    rotated = any(len(node.input) > 7 and node.input[7] for node in graph.of_type("GroupQueryAttention"))
    presents = [value.name for value in proto.graph.output if value.name.startswith("present.")]
    ranges: dict[str, np.ndarray] = {}
    second: dict[str, np.ndarray] = {}
    for name, array in probe.values(proto, [*inputs, *presents], windows):
        if name in presents:
            largest = _cache(array, rotated and name.endswith(".key"))
        else:
            largest = _channels(array)
            rows = array.reshape(-1, array.shape[-1])
            moment = rows.T @ rows
            second[name] = second[name] + moment if name in second else moment
        ranges[name] = np.maximum(ranges[name], largest) if name in ranges else largest
    return ranges, second


def _channels(array: np.ndarray) -> np.ndarray:
    """[..., K] → [K]."""
    return np.abs(array).reshape(-1, array.shape[-1]).max(0)


def _cache(array: np.ndarray, rotated: bool) -> np.ndarray:
    """[1, Hkv, S, D] → [Hkv, D]."""
    if not rotated:
        return HEADROOM * np.abs(array[0]).max(1)
    half = array.shape[-1] // 2
    lengths = np.hypot(array[0, ..., :half], array[0, ..., half:]).max(1)
    return HEADROOM * np.concatenate([lengths, lengths], axis=-1)
