"""model.int4.onnx: weights in 4 bits, one scale and zero point for 32 of them: the smallest form, the fastest for one
stream. For many streams and long prompts int8 is faster.

ONNX Runtime's MatMulNBits with accuracy level 4 quantizes each row's activations by itself, 32 at a time. The head and
the products that lose most (before attention, where errors move attention itself) keep 8 bits. The others' rounding is
compensated over their inputs (GPTQ, `gptq.py`). Embedding and cache are as in `onnx_int8.py`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting.gptq import Grid, compensate
from pipelines.exporting.onnx_graph import MICROSOFT, Graph
from pipelines.exporting.onnx_int8 import finish

BLOCK = 32
ACCURACY = 4  # int8 products


def export(source: Path, target: Path, ranges: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Quantize the graph `source` into `target`. Equal inputs give equal bytes.

    `ranges`: see `ranges.measure`; `second`: the second moments [K, K] of the products' inputs, see `gptq.moments`.
    """
    proto = onnx.load(source)
    graph = Graph(proto.graph)
    for node in graph.of_type("MatMul"):
        if node.input[1] in graph.weights:
            bits = 8 if _sensitive(graph, node) else 4
            _quantize(graph, node, bits, second.get(node.input[0]))
    finish(proto, graph, target, ranges)


def _sensitive(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a product keeps 8 bits: those that feed attention, and the head."""
    if node.output[0] in graph.outputs:
        return True
    kinds = {reader.op_type for reader in graph.readers(node.output[0])}
    return bool(kinds & {"GroupQueryAttention", "Reshape"})


def _quantize(graph: Graph, node: onnx.NodeProto, bits: int, second: np.ndarray | None) -> None:
    weight = graph.array(node.input[1])  # [K, N]
    width, outputs = weight.shape
    grid = Grid.fit(weight, bits, BLOCK)
    levels = grid.levels(weight) if second is None or bits == 8 else compensate(weight, grid, second)
    blocks = -(-width // BLOCK)
    padded = np.zeros((blocks * BLOCK, outputs), np.uint8)
    padded[:width] = levels
    stored = padded.T.reshape(outputs, blocks, BLOCK)
    zeros = grid.zeros.T.astype(np.uint8)  # [N, blocks]
    if bits == 4:
        stored = stored[..., 0::2] | np.left_shift(stored[..., 1::2], 4, dtype=np.uint8)
        if blocks % 2:
            zeros = np.concatenate([zeros, np.zeros((outputs, 1), np.uint8)], axis=1)
        zeros = zeros[:, 0::2] | np.left_shift(zeros[:, 1::2], 4, dtype=np.uint8)
    name = node.output[0]
    inputs = [node.input[0], graph.constant(f"{name}.bits", stored),
              graph.constant(f"{name}.scales", grid.scales.T.astype(np.float32)),
              graph.constant(f"{name}.zeros", zeros)]  # fmt: skip
    graph.remove(node)
    graph.node("MatMulNBits", inputs, [name], domain=MICROSOFT, K=width, N=outputs, bits=bits, block_size=BLOCK,
               accuracy_level=ACCURACY)  # fmt: skip
