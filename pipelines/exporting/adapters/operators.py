"""Operators by which each sequence of a batch has an adapter of its own, or none (Hu et al. 2021, arXiv:2106.09685).

    LowRank              y + (x A) B, with the two matrices of the sequence's adapter
    PackedMatMulLowRank  PackedMatMul and that: x is the levels times their scale

`bank` [adapters + 1, size] bfloat16 holds the matrices of all adapters, `adapter` [batch] int32 says which; 0: none,
and row 0 of the bank is zero. A node's matrices lie `at` some place of an adapter's row, in blocks of 16 inputs or
outputs: A [K / 16, layers · rank, 16], then B [N / 16, rank, 16]. A product of several layers side by side (queries,
keys, values) has as many A's; `layer_of` [N / 16] int32 says to which of them a block of outputs belongs.

The kernels are in `serving/native/low_rank.c`; `functions` says the same in ONNX Runtime's operators. A row without an
adapter is what it is without the operator, to the last bit.
"""

import numpy as np
import onnx
from onnx import TensorProto

from pipelines.exporting.onnx.operators import DOMAIN, Body
from pipelines.exporting.quantize.packed import OUTPUTS

BLOCK = OUTPUTS
"""Inputs or outputs that lie side by side; widths are multiples of it."""

LOW_RANK, PRODUCT = "LowRank", "PackedMatMulLowRank"
ATTRIBUTES = ("at", "rank", "layers")
ADAPTERS = ("layer_of", "bank", "adapter")
_PACKED = ("levels", "weights", "scale", "columns", "offsets")


def functions(opset: int) -> list[onnx.FunctionProto]:
    """Both as functions, the one that calls others first."""
    low, product = Body(), Body()
    _low_rank(low)
    product.node("PackedMatMul", _PACKED, "y", domain=DOMAIN)
    product.node("Cast", ["levels"], "wide", to=TensorProto.FLOAT)
    product.node("Sub", ["wide", product.constant("zero", np.array(128, np.float32))], "centred")
    product.node("Mul", ["centred", "scale"], "x")
    product.node(LOW_RANK, ["y", "x", *ADAPTERS], "out", domain=DOMAIN)
    for attribute in ATTRIBUTES:
        product.refer(attribute, onnx.AttributeProto.INT)
    made = product.function(PRODUCT, [*_PACKED, *ADAPTERS], ["out"], opset, ATTRIBUTES)
    made.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return [made, low.function(LOW_RANK, ["y", "x", *ADAPTERS], ["out"], opset, ATTRIBUTES)]


def _low_rank(body: Body) -> None:
    """x [batch, S, K], y [batch, S, N]: every layer's part is computed for all outputs, and kept for its own."""
    block, every = body.constant("block", np.array([BLOCK])), body.constant("all", np.array([-1]))
    zero = body.constant("first", np.array([0]))
    for attribute in ATTRIBUTES:
        body.node("Constant", [], f"{attribute}.number")
        body.nodes[-1].attribute.append(
            onnx.AttributeProto(name="value_int", ref_attr_name=attribute, type=onnx.AttributeProto.INT)
        )
        body.node("Unsqueeze", [f"{attribute}.number", zero], f"{attribute}.one")
    at, rank, layers = "at.one", "rank.one", "layers.one"
    batch = body.node("Shape", ["adapter"], "batch")
    width = body.node("Shape", ["x"], "width", start=-1)
    outputs = body.node("Shape", ["y"], "outputs", start=-1)
    length = body.node("Shape", ["x"], "length", start=1, end=2)
    ranks = body.node("Mul", [rank, layers], "ranks")
    middle = body.node("Add", [at, body.node("Mul", [width, ranks], "size.a")], "middle")
    end = body.node("Add", [middle, body.node("Mul", [outputs, rank], "size.b")], "end")
    axis = body.constant("axis", np.array([1]))
    matrices = []
    for name, start, stop, lines, count in (("a", at, middle, width, ranks), ("b", middle, end, outputs, rank)):
        part = body.node("Slice", ["bank", start, stop, axis], f"{name}.bank")
        part = body.node("Cast", [body.node("Gather", [part, "adapter"], f"{name}.rows", axis=0)], f"{name}.flat",
                         to=TensorProto.FLOAT)  # fmt: skip
        blocks = body.node("Concat", [batch, every, count, block], f"{name}.blocks", axis=0)
        part = body.node("Reshape", [part, blocks], f"{name}.parts")
        order = [0, 1, 3, 2] if name == "a" else [0, 2, 1, 3]
        part = body.node("Transpose", [part], f"{name}.turned", perm=order)
        sizes = [batch, lines, count] if name == "a" else [batch, body.constant("unity", np.array([1])), count, lines]
        shape = body.node("Concat", sizes, f"{name}.shape", axis=0)
        matrices.append(body.node("Reshape", [part, shape], f"{name}.matrix"))
    inner = body.node("MatMul", ["x", matrices[0]], "inner")
    shape = body.node("Concat", [batch, length, layers, rank], "inner.shape", axis=0)
    inner = body.node("Transpose", [body.node("Reshape", [inner, shape], "inner.parts")], "inner.layers",
                      perm=[0, 2, 1, 3])  # fmt: skip
    outer = body.node("MatMul", [inner, matrices[1]], "outer")  # [batch, layers, S, N]
    kept = body.node(
        "Where", [_own(body, block, every), outer, body.constant("nought", np.array(0, np.float32))], "own"
    )
    added = body.node("ReduceSum", [kept, axis], "added", keepdims=0)
    body.node("Add", ["y", added], "with")
    some = body.node("Reshape", [body.node("Greater", ["adapter", body.constant("none", np.array(0, np.int32))], "any"),
                                 body.constant("column", np.array([-1, 1, 1]))], "some")  # fmt: skip
    body.node("Where", [some, "with", "y"], "out")


def _own(body: Body, block: str, every: str) -> str:
    """[layers, 1, N]: the outputs that belong to a layer."""
    column = body.node("Reshape", ["layer_of", body.constant("lines", np.array([-1, 1]))], "layer_of.column")
    count = body.node("Concat", [body.node("Shape", ["layer_of"], "layer_of.shape"), block], "layer_of.sizes", axis=0)
    of = body.node("Reshape", [body.node("Expand", [column, count], "layer_of.wide"), every], "layer_of.outputs")
    number = body.node("Cast", [of], "layer_of.number", to=TensorProto.INT64)
    layer = body.node("Range", [body.constant("start", np.array(0)), "layers.number",
                                body.constant("step", np.array(1))], "layer")  # fmt: skip
    layer = body.node("Reshape", [layer, body.constant("planes", np.array([-1, 1, 1]))], "layer.plane")
    return body.node("Equal", [layer, number], "layer.own")
