"""model.int4.onnx: weights in 4 bits, one scale and zero point for 32 of them: the smallest form, the fastest for one
stream. For many streams and long prompts int8 is faster.

The products that lose most keep 8 bits: those before attention (where errors move attention itself), those whose inputs
have outliers, and the first and last tenth of the layers. The others' rounding is compensated over their inputs (GPTQ,
`gptq.py`). Embedding and cache are as in `onnx_int8.py`. The graph is not rotated first: blocks bear outliers, and
weights that were in 4 bits before, as in a GGUF file, keep most of their levels.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize import blockwise
from pipelines.exporting.quantize.int8 import finish, outliers

EDGE = 0.1
"""The part of the layers at either end that keeps 8 bits. On SmolLM2-135M, 3 of 30 at each end: a quarter less rise of
perplexity for 6 % of the file."""


def export(source: Path, target: Path, ranges: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Quantize the graph `source` into `target`. Equal inputs give equal bytes.

    `ranges`, `second`: what `ranges.measure` found in it.
    """
    proto = onnx.load(source)
    graph = Graph(proto.graph)
    for node, edge in _layers(graph):
        if outliers(ranges[node.input[0]]):
            blockwise.quantize(graph, node, 8)
        elif edge or _before_attention(graph, node):
            blockwise.quantize(graph, node, 8, blockwise.WIDE)
        else:
            blockwise.quantize(graph, node, 4, second=second[node.input[0]])
    finish(proto, graph, target, ranges)


def _layers(graph: Graph) -> list[tuple[onnx.NodeProto, bool]]:
    """The products, each with whether it lies in the first or last layers; a layer begins with its attention."""
    layers = len(list(graph.of_type("GroupQueryAttention")))
    edge, before, found = int(EDGE * layers), 0, []
    for node in graph.nodes:
        before += node.op_type == "GroupQueryAttention"
        if graph.is_product(node):
            inside = node.output[0] not in graph.outputs
            found.append((node, inside and (before <= edge or before > layers - edge)))
    return found


def _before_attention(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a product feeds attention."""
    readers = graph.readers(node.output[0])
    for bias in [reader for reader in readers if reader.op_type == "Add" and set(reader.input) & set(graph.weights)]:
        readers += graph.readers(bias.output[0])
    kinds = {reader.op_type for reader in readers}
    return bool(kinds & {"GroupQueryAttention", "Reshape"})
