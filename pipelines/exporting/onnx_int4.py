"""model.int4.onnx: weights in 4 bits, one scale and zero point for 32 of them: the smallest form, the fastest for one
stream. For many streams and long prompts int8 is faster.

The head and the products that lose most (before attention, where errors move attention itself) keep 8 bits. The others'
rounding is compensated over their inputs (GPTQ, `gptq.py`). Embedding and cache are as in `onnx_int8.py`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting import blockwise
from pipelines.exporting.onnx_graph import Graph
from pipelines.exporting.onnx_int8 import finish


def export(source: Path, target: Path, ranges: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Quantize the graph `source` into `target`. Equal inputs give equal bytes.

    `ranges`: see `ranges.measure`; `second`: the second moments [K, K] of the products' inputs, see `gptq.moments`.
    """
    proto = onnx.load(source)
    graph = Graph(proto.graph)
    for node in graph.of_type("MatMul"):
        if node.input[1] in graph.weights:
            if _sensitive(graph, node):
                blockwise.quantize(graph, node, 8)
            else:
                blockwise.quantize(graph, node, 4, second[node.input[0]])
    finish(proto, graph, target, ranges)


def _sensitive(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a product keeps 8 bits: those that feed attention, and the head."""
    if node.output[0] in graph.outputs:
        return True
    kinds = {reader.op_type for reader in graph.readers(node.output[0])}
    return bool(kinds & {"GroupQueryAttention", "Reshape"})
