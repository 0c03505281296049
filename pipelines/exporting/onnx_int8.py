"""model.int8.onnx: products in 8 bits on both sides (W8A8), embedding and cache too; norms and softmax in float32.

- weights: one scale for each output;
- activations: one scale for each token, found while the graph runs: u = round(x / r) + 128 with r = max|x| / 127. So a
  row's result never depends on the other rows of its batch (ONNX Runtime's own dynamic quantization scales whole
  tensors, onnxruntime issue 5653), and integer sums have no order: a row alone and among others is equal to the last
  bit;
- outliers are moved into the weights first (`smoothing.py`);
- keys and values: fixed scales, one for each channel (`quantized_cache.py`).

Per product: Abs, ReduceMax, Mul, QuantizeLinear (blocked: one block is one row), shared by all products of one input;
MatMulIntegerToFloat with the weights' scales, and a Mul by r.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting.onnx_fp32 import strip
from pipelines.exporting.onnx_graph import MICROSOFT, Graph
from pipelines.exporting.quantized_cache import quantize_cache
from pipelines.exporting.smoothing import smooth

LEVELS = 127
EMBEDDING_BLOCK = 32


def export(source: Path, target: Path, ranges: Mapping[str, np.ndarray]) -> None:
    """Quantize the graph `source` into `target`. `ranges`: see `ranges.measure`. Equal inputs give equal bytes."""
    proto = onnx.load(source)
    graph = Graph(proto.graph)
    smooth(graph, ranges)
    quantize_products(graph)
    finish(proto, graph, target, ranges)


def finish(proto: onnx.ModelProto, graph: Graph, target: Path, ranges: Mapping[str, np.ndarray]) -> None:
    """What both quantized forms have in common: embedding, cache, and the file itself."""
    quantize_embedding(graph)
    quantize_cache(graph, ranges)
    graph.finish()
    if not any(entry.domain == MICROSOFT for entry in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    strip(proto)
    target.write_bytes(proto.SerializeToString(deterministic=True))


def quantize_products(graph: Graph) -> None:
    """Replace every product with a constant matrix."""
    graph.constant("int8.level", np.float32(1 / LEVELS))
    graph.constant("int8.one", np.float32(1))
    graph.constant("int8.zero", np.uint8(128))
    graph.constant("int8.last", np.array([-1]))
    rows: dict[str, tuple[str, str]] = {}
    for node in graph.of_type("MatMul"):
        if node.input[1] not in graph.weights:
            continue
        name, weight = node.input[0], graph.array(node.input[1])
        if name not in rows:
            rank = len(graph.shapes.get(name) or graph.shapes[node.output[0]])
            rows[name] = _quantize_rows(graph, name, len(weight), rank)
        levels, scale = rows[name]
        columns = np.abs(weight).max(0) / LEVELS
        columns[columns == 0] = 1
        stored = graph.constant(f"{node.output[0]}.int8", np.rint(weight / columns).astype(np.int8))
        columns = graph.constant(f"{node.output[0]}.scale", columns.astype(np.float32))
        inputs = [levels, stored, "int8.one", columns, "int8.zero"]
        product = graph.node("MatMulIntegerToFloat", inputs, [f"{node.output[0]}.product"], domain=MICROSOFT)
        graph.remove(node)
        graph.node("Mul", [product, scale], list(node.output))


def _quantize_rows(graph: Graph, name: str, width: int, rank: int) -> tuple[str, str]:
    """Add the nodes that quantize each row of `name`. Returns its levels, uint8, and its scales [..., 1]."""
    magnitude = graph.node("Abs", [name], [f"{name}.abs"])
    largest = graph.node("ReduceMax", [magnitude, "int8.last"], [f"{name}.max"], keepdims=1)
    scale = graph.node("Mul", [largest, "int8.level"], [f"{name}.scale"])
    zeros = f"int8.zeros{rank}"
    if zeros not in graph.maker:  # one zero point for each row: all of them 128, as many as there are
        shape = graph.node("Shape", [scale], [f"{zeros}.shape"])
        graph.node("Expand", ["int8.zero", shape], [zeros])
    inputs = [name, scale, zeros]
    levels = graph.node("QuantizeLinear", inputs, [f"{name}.levels"], axis=rank - 1, block_size=width)
    return levels, scale


def quantize_embedding(graph: Graph) -> None:
    """Store the embedding in 8 bits, one scale for 32 numbers, where its width allows."""
    for node in graph.of_type("Gather"):
        if node.input[0] not in graph.weights or node.input[1] != "input_ids":
            continue
        table = graph.array(node.input[0])  # [V, W]
        if table.ndim != 2 or table.shape[1] % EMBEDDING_BLOCK:
            continue
        blocks = table.reshape(len(table), -1, EMBEDDING_BLOCK)
        scale = np.abs(blocks).max(-1) / LEVELS
        scale[scale == 0] = 1
        levels = (np.rint(blocks / scale[..., None]) + 128).astype(np.uint8).reshape(table.shape)
        inputs = [graph.constant("embedding.int8", levels), node.input[1],
                  graph.constant("embedding.scale", scale.astype(np.float32))]  # fmt: skip
        graph.remove(node)
        graph.node("GatherBlockQuantized", inputs, list(node.output), domain=MICROSOFT, bits=8,
                   block_size=EMBEDDING_BLOCK, gather_axis=0, quantize_axis=1)  # fmt: skip
