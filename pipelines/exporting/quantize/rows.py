"""model.int8.onnx of a graph of one call whose products work on tokens: every token is scaled by itself.

ONNX Runtime's own dynamic quantization scales a whole batch at once (onnxruntime issue 5653), so that a text's answer
changes with its neighbours and its padding. Here activations get one scale for each row, weights one for each output,
and embeddings one for 32 numbers; sums of integers have no order. So a row alone and among others is equal to the last
bit, if what lies between the products is.
"""

import numpy as np
import onnx

from pipelines.exporting.onnx import operators
from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.quantize import pointwise
from pipelines.exporting.quantize.gptq import Grid
from pipelines.exporting.quantize.int8 import quantize_table

OPSET = 23
"""The functions of `pointwise` need one above 20. Between the two no operator of such a graph has another meaning."""
FEWEST = 1024
"""Rows of a table below which it stays as it is."""


def takes(proto: onnx.ModelProto) -> bool:
    """Whether it has products of tokens, [batch, tokens, width] by a constant matrix, and no convolution."""
    graph = Graph(proto.graph)
    return not any(graph.of_type("Conv")) and any(_rank(graph, node) > 2 for node in graph.products())


def int8(proto: onnx.ModelProto) -> None:
    """Quantize in place. Equal inputs give equal bytes."""
    graph = Graph(proto.graph)
    graph.constant("int8.one", np.float32(1))
    graph.constant("int8.zero", np.uint8(128))
    rows: dict[str, tuple[str, str]] = {}
    for node in list(graph.products()):
        name, out, weight = node.input[0], node.output[0], graph.array(node.input[1])
        if (rank := _rank(graph, node)) < 3:
            continue
        if name not in rows:
            rows[name] = pointwise.quantize_rows(graph, name, len(weight), rank)
        levels, scale = rows[name]
        grid = Grid.symmetric(weight)
        stored = graph.constant(f"{out}.int8", (grid.levels(weight).astype(np.int16) - 128).astype(np.int8))
        columns = graph.constant(f"{out}.scale", grid.scales[0])
        graph.remove(node)
        inputs = [levels, stored, "int8.one", columns, "int8.zero"]
        product = graph.node("MatMulIntegerToFloat", inputs, [f"{out}.product"], domain=MICROSOFT)
        graph.node("Mul", [product, scale], [out])
    for node in list(graph.of_type("Gather")):
        if node.input[0] in graph.weights and len(graph.array(node.input[0])) >= FEWEST:
            quantize_table(graph, node)
    graph.finish()
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, OPSET)
    operators.attach(proto, pointwise.functions(operators.opset(proto)))


def _rank(graph: Graph, product: onnx.NodeProto) -> int:
    """Of a product's left side; 0: not known."""
    return len(graph.shapes.get(product.input[0]) or graph.shapes.get(product.output[0]) or ())
