"""model.int8.onnx: products in 8 bits on both sides (W8A8), embedding and cache too; norms and softmax in float32.

- weights: one scale for each output, rounding compensated over the inputs (`gptq.py`);
- activations: one fixed scale where their size is known, behind norms and attention (`rotation.py` makes them alike);
  elsewhere one for each token, found while the graph runs: u = round(x / r) + 128 with r = max|x| / 127. Either way a
  row's result never depends on the other rows of its batch (ONNX Runtime's own dynamic quantization scales whole
  tensors, onnxruntime issue 5653), and integer sums have no order: a row alone and among others is equal to the last
  bit;
- outliers are moved into the weights first (`smoothing.py`); products whose inputs have some all the same, where a
  model writes its attention sinks, are quantized in blocks (`blockwise.py`);
- keys and values: fixed scales, one for each channel (`cache.py`).

Per product: QuantizeLinear, shared by all products of one input, and MatMulIntegerToFloat with the weights' scales; for
scales of tokens QuantizeRows before, and a Mul by r after. `pointwise.py` joins what lies between products, `packed.py`
puts their weights into the kernels' order.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting.onnx import operators
from pipelines.exporting.onnx.fp32 import strip
from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.quantize import blockwise, packed, pointwise
from pipelines.exporting.quantize.cache import quantize_cache
from pipelines.exporting.quantize.frames import Frames, new_frames
from pipelines.exporting.quantize.gptq import Grid, compensate
from pipelines.exporting.quantize.rotation import NORMS
from pipelines.exporting.quantize.smoothing import smooth

LEVELS = 127
EMBEDDING_BLOCK = 32

CLIP = 0.8
"""The part of the largest number seen in calibration that a fixed scale reaches to: the few beyond it lose less than
all others gain."""

OUTLIERS = 100.0
"""Largest over median channel of an input from which on its products are quantized in blocks. SmolLM2-135M has two,
which write the attention sinks of its first token."""


def export(
    source: Path, target: Path, ranges: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray],
    frames: Frames | None = None,
) -> None:  # fmt: skip
    """Quantize the graph `source` into `target`. Equal inputs give equal bytes.

    `ranges`, `second`: what `ranges.measure` found in it; `frames`: what became of its matrices, which is added to.
    """
    proto = onnx.load(source)
    graph = Graph(proto.graph)
    quantize(graph, ranges, second, frames)
    finish(proto, graph, target, ranges)


def finish(proto: onnx.ModelProto, graph: Graph, target: Path, ranges: Mapping[str, np.ndarray]) -> None:
    """What both quantized forms have in common: embedding, cache, and the file itself."""
    quantize_embedding(graph)
    version = operators.opset(proto)
    cached = quantize_cache(graph, ranges, version)
    pointwise.join(graph)
    packed.pack(graph)
    graph.finish()
    operators.attach(proto, [*cached, *pointwise.functions(version), *packed.functions(version)])
    strip(proto)
    target.write_bytes(proto.SerializeToString(deterministic=True))


def quantize(
    graph: Graph, ranges: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], frames: Frames | None = None
) -> None:
    """Replace every product with a constant matrix, each in the way that suits its input."""
    for node in graph.products():
        if outliers(ranges[node.input[0]]):
            blockwise.quantize(graph, node, 8)
    factors = smooth(graph, ranges, new_frames() if frames is None else frames)
    smoothed = {name: ranges[name] / factor for name, factor in factors.items()}
    moved = {name: second[name] / np.outer(factor, factor) for name, factor in factors.items() if name in second}
    quantize_products(graph, {**ranges, **smoothed}, {**second, **moved})


def quantize_products(graph: Graph, ranges: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Replace products by such with one scale for each row or for all."""
    graph.constant("int8.one", np.float32(1))
    graph.constant("int8.zero", np.uint8(128))
    rows: dict[str, tuple[str, str]] = {}
    bounded = {node.input[0] for node in graph.products() if _bounded(graph, node.input[0])}
    for node in graph.products():
        name, out, weight = node.input[0], node.output[0], graph.array(node.input[1])
        fixed = name in bounded
        if name not in rows:
            rank = len(graph.shapes.get(name) or graph.shapes[out])
            rows[name] = (
                _quantize_all(graph, name, ranges[name])
                if fixed
                else pointwise.quantize_rows(graph, name, len(weight), rank)
            )
        levels, scale = rows[name]
        grid = Grid.symmetric(weight)
        rounded = compensate(weight, grid, second[name]) if name in second else grid.levels(weight)
        stored = graph.constant(f"{out}.int8", (rounded.astype(np.int16) - 128).astype(np.int8))
        columns = graph.constant(f"{out}.scale", grid.scales[0])
        graph.remove(node)
        inputs = [levels, stored, scale if fixed else "int8.one", columns, "int8.zero"]
        product = graph.node("MatMulIntegerToFloat", inputs, [out if fixed else f"{out}.product"], domain=MICROSOFT)
        if not fixed:
            graph.node("Mul", [product, scale], [out])


def outliers(range_: np.ndarray) -> bool:
    """Whether a few channels are so large that one scale for all loses the others. `range_` [K]."""
    return bool(range_.max() > OUTLIERS * np.median(range_) > 0)


def _bounded(graph: Graph, name: str) -> bool:
    """Whether a value has the same size for any text: a norm without gain, or means of values that come from one."""
    maker = graph.maker.get(name)
    if maker is None:
        return False
    if maker.op_type == "GroupQueryAttention":
        product = graph.maker.get(maker.input[2] or maker.input[0])  # of the values, or of all three
        return product is not None and product.op_type == "MatMul" and _bounded(graph, product.input[0])
    gain = maker.input[NORMS[maker.op_type]] if maker.op_type in NORMS else ""
    return gain in graph.weights and bool((graph.array(gain) == 1).all())


def _quantize_all(graph: Graph, name: str, range_: np.ndarray) -> tuple[str, str]:
    """Add the node that quantizes `name` with one fixed scale. Returns levels, uint8, and the scale."""
    scale = graph.constant(f"{name}.scale", np.float32(max(CLIP * range_.max(), 1e-6) / LEVELS))
    return graph.node("QuantizeLinear", [name, scale, "int8.zero"], [f"{name}.levels"]), scale


def quantize_embedding(graph: Graph) -> None:
    """Store the embedding in 8 bits where its width allows."""
    for node in graph.of_type("Gather"):
        if node.input[0] in graph.weights and node.input[1] == "input_ids":
            quantize_table(graph, node, "embedding")


def quantize_table(graph: Graph, node: onnx.NodeProto, name: str = "") -> None:
    """Store a Gather's constant table [V, W] in 8 bits, one scale for 32 numbers; another width stays. `name`: of its
    parts, else the table's own."""
    table, name = graph.array(node.input[0]), name or node.input[0]
    if table.ndim != 2 or table.dtype != np.float32 or table.shape[1] % EMBEDDING_BLOCK:
        return
    blocks = table.reshape(len(table), -1, EMBEDDING_BLOCK)
    scale = np.abs(blocks).max(-1) / LEVELS
    scale[scale == 0] = 1
    levels = (np.rint(blocks / scale[..., None]) + 128).astype(np.uint8).reshape(table.shape)
    inputs = [graph.constant(f"{name}.int8", levels), node.input[1],
              graph.constant(f"{name}.scale", scale.astype(np.float32))]  # fmt: skip
    graph.remove(node)
    graph.node("GatherBlockQuantized", inputs, list(node.output), domain=MICROSOFT, bits=8,
               block_size=EMBEDDING_BLOCK, gather_axis=0, quantize_axis=1)  # fmt: skip
