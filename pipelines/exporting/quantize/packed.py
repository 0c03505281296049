"""Products whose weights the file holds in the order in which kernels read them.

    PackedMatMul       MatMulIntegerToFloat: levels of activations by weights in 8 bits, one scale for each output
    PackedMatMulNBits  MatMulNBits: activations by weights in 4 or 8 bits, a scale and a zero for each block of inputs

The kernels (`serving/native/products.c`, `blocks.c`) take them as they are, so that nothing is packed when a graph is
loaded, and no weight is held twice. `functions` puts them back into ONNX Runtime's order, by operators on constants,
which ONNX Runtime folds. The order is that of one instruction for sums of four products of bytes: 16 outputs side by
side, of each four inputs, [N / 16, K / 4, 16, 4]; in blocks, all of a block's bytes before those of the next one.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.onnx.operators import DOMAIN, Body

OUTPUTS, INPUTS = 16, 4
"""What lies side by side."""
BLOCK_OF_4_BITS, MULTIPLE, MOST_BLOCK = 32, 16, 256
"""Blocks that the kernels take: in 4 bits one size, in 8 bits multiples up to a largest one."""


def pack(graph: Graph) -> None:
    """Replace all products whose shapes the kernels take; the others stay ONNX Runtime's."""
    for node in graph.of_type("MatMulIntegerToFloat"):
        _pack_levels(graph, node)
    for node in graph.of_type("MatMulNBits"):
        _pack_blocks(graph, node)


def functions(opset: int) -> list[onnx.FunctionProto]:
    """Both as functions."""
    levels, blocks = Body(), Body()
    levels.node("Transpose", ["weights"], "apart", perm=[1, 3, 0, 2])
    levels.node("Concat", [levels.constant("all", np.array([-1])), levels.node("Shape", ["columns"], "outputs")],
                "shape", axis=0)  # fmt: skip
    levels.node("Reshape", ["apart", "shape"], "matrix")
    zero = levels.constant("zero", np.array(128, np.uint8))
    levels.node("MatMulIntegerToFloat", ["levels", "matrix", "scale", "columns", zero], ["out"], domain=MICROSOFT)
    every, four = blocks.constant("all", np.array([-1])), blocks.constant("four", np.array([INPUTS]))
    blocks.node("Transpose", ["weights"], "apart", perm=[0, 3, 1, 2, 4])
    blocks.node("Shape", ["weights"], "count", start=1, end=2)
    blocks.node("Mul", [blocks.node("Shape", ["weights"], "lines", start=2, end=3), four], "bytes")
    blocks.node("Reshape", ["apart", blocks.node("Concat", [every, "count", "bytes"], "shape", axis=0)], "matrix")
    blocks.node("Cast", ["scales"], "float", to=TensorProto.FLOAT)
    for source, name in (("float", "steps"), ("zeros", "points")):
        blocks.node("Transpose", [source], f"{name}.apart", perm=[0, 2, 1])
        blocks.node("Shape", [source], f"{name}.count", start=1, end=2)
        shape = blocks.node("Concat", [every, f"{name}.count"], f"{name}.shape", axis=0)
        blocks.node("Reshape", [f"{name}.apart", shape], name)
    blocks.node("MatMulNBits", ["x", "matrix", "steps", "points"], ["out"], domain=MICROSOFT, accuracy_level=4)
    for attribute in ATTRIBUTES:
        blocks.refer(attribute, onnx.AttributeProto.INT)
    return [
        levels.function("PackedMatMul", ["levels", "weights", "scale", "columns", "offsets"], ["out"], opset),
        blocks.function("PackedMatMulNBits", ["x", "weights", "scales", "zeros"], ["out"], opset, ATTRIBUTES),
    ]


ATTRIBUTES = ("K", "N", "bits", "block_size")


def columns(matrix: np.ndarray) -> np.ndarray:
    """Weights [K, N], int8, in the order of `PackedMatMul`."""
    inputs, outputs = matrix.shape
    apart = matrix.reshape(inputs // INPUTS, INPUTS, outputs // OUTPUTS, OUTPUTS)
    return np.ascontiguousarray(apart.transpose(2, 0, 3, 1))


def offsets(matrix: np.ndarray) -> np.ndarray:
    """What levels' zero, 128, adds to the sum of each output of weights [K, N], subtracted."""
    return -128 * matrix.sum(0, dtype=np.int32)


def blocks(stored: np.ndarray) -> np.ndarray:
    """MatMulNBits' bytes [N, blocks, bytes] in the order of `PackedMatMulNBits`."""
    outputs, count, width = stored.shape
    apart = stored.reshape(outputs // OUTPUTS, OUTPUTS, count, width // INPUTS, INPUTS)
    return np.ascontiguousarray(apart.transpose(0, 2, 3, 1, 4))


def of_blocks(values: np.ndarray) -> np.ndarray:
    """Scales or zeros [N, blocks] in its order [N / 16, blocks, 16]."""
    return np.ascontiguousarray(values.reshape(-1, OUTPUTS, values.shape[1]).transpose(0, 2, 1))


def _pack_levels(graph: Graph, node: onnx.NodeProto) -> None:
    levels, weights, scale, factors, zero, *rest = node.input
    matrix = graph.array(weights)
    taken = matrix.dtype == np.int8 and matrix.shape[0] % INPUTS == 0 and matrix.shape[1] % OUTPUTS == 0
    if not taken or any(rest) or graph.array(zero) != 128 or graph.array(factors).size != matrix.shape[1]:
        return
    inputs = [levels, graph.constant(f"{weights}.packed", columns(matrix)), scale, factors,
              graph.constant(f"{weights}.offsets", offsets(matrix))]  # fmt: skip
    graph.remove(node)
    graph.node("PackedMatMul", inputs, list(node.output), domain=DOMAIN)


def _pack_blocks(graph: Graph, node: onnx.NodeProto) -> None:
    values: dict[str, Any] = {part.name: helper.get_attribute_value(part) for part in node.attribute}
    bits, block = values["bits"], values["block_size"]
    taken = block == BLOCK_OF_4_BITS if bits == 4 else bits == 8 and block % MULTIPLE == 0 and block <= MOST_BLOCK
    if not taken or values["K"] % block or values["N"] % OUTPUTS or len(node.input) != 4:
        return
    x, stored, scales, zeros = node.input
    steps = graph.array(scales)
    half = np.right_shift(steps.view(np.uint32), 16).astype(np.uint16)
    if (np.left_shift(half, 16, dtype=np.uint32).view(np.float32) != steps).any():
        return
    graph.weights[f"{scales}.packed"] = helper.make_tensor(
        f"{scales}.packed", TensorProto.BFLOAT16, of_blocks(half).shape, of_blocks(half).tobytes(), raw=True
    )
    inputs = [x, graph.constant(f"{stored}.packed", blocks(graph.array(stored))), f"{scales}.packed",
              graph.constant(f"{zeros}.packed", of_blocks(graph.array(zeros).reshape(values["N"], -1)))]  # fmt: skip
    graph.remove(node)
    graph.node("PackedMatMulNBits", inputs, list(node.output), domain=DOMAIN,
               **{name: values[name] for name in ATTRIBUTES})  # fmt: skip
