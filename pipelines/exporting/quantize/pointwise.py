"""What lies between the products of a quantized decoder, as one operator where the graph has three to six.

    AddNormQuantize    sum = x + delta * delta_scale; levels of RMSNorm(sum) * gain by one fixed scale
    QuantizeRows       levels of x, with one scale for each row, its largest magnitude / 127
    SwiGLU             gate * sigmoid(gate) * up, which lie side by side in a row (Shazeer 2020, arXiv:2002.05202)
    SwiGLUQuantize     both

Levels are uint8 around 128. The kernels are in `serving/native/pointwise.c`; `FUNCTIONS` says the same in ONNX
Runtime's operators. The pass knows operators, not models: what does not match is left as it is.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.onnx.operators import DOMAIN, LANES, PORTABLE, Body

LEVELS = 127


def join(graph: Graph) -> None:
    """Join what one of the operators does."""
    _swiglu(graph)  # and gate's and up's product become one, which costs less than two
    _swiglu_quantize(graph)
    _add_norm_quantize(graph)


def functions(opset: int) -> list[onnx.FunctionProto]:
    """All four as functions."""
    norm = Body()
    norm.node("Mul", ["delta", "delta_scale"], "scaled")
    norm.node("SkipSimplifiedLayerNormalization", ["x", "scaled", "gain"], ["normed", "", "", "sum"], domain=MICROSOFT)
    norm.refer("epsilon", onnx.AttributeProto.FLOAT)
    norm.node("QuantizeLinear", ["normed", "scale", norm.constant("zero", np.array(128, np.uint8))], "levels")
    rows, gated, both = Body(), Body(), Body()
    _rows(rows, "x")
    _gated(gated, "out")
    _gated(both, "x")
    _rows(both, "x")
    return [
        norm.function(
            "AddNormQuantize", ["x", "delta", "delta_scale", "gain", "scale"], ["levels", "sum"], opset, ["epsilon"]
        ),
        rows.function("QuantizeRows", ["x"], ["levels", "scale"], opset, ["axis", "block_size"]),
        gated.function("SwiGLU", ["both"], ["out"], opset),
        both.function("SwiGLUQuantize", ["both"], ["levels", "scale"], opset, ["axis", "block_size"]),
    ]


def quantize_rows(graph: Graph, name: str, width: int, rank: int) -> tuple[str, str]:
    """Add the node that quantizes each row of `name`. Returns its levels, uint8, and its scales [..., 1]."""
    kind, outputs = "QuantizeRows" + PORTABLE * bool(width % LANES), [f"{name}.levels", f"{name}.scale"]
    graph.node(kind, [name], outputs, domain=DOMAIN, axis=rank - 1, block_size=width)
    return outputs[0], outputs[1]


def _rows(body: Body, name: str) -> None:
    """One scale for a row: a blocked QuantizeLinear, one block a row, with as many zero points, all of them 128."""
    body.node("Abs", [name], "magnitude")
    body.node("ReduceMax", ["magnitude", body.constant("last", np.array([-1]))], "largest", keepdims=1)
    body.node("Mul", ["largest", body.constant("level", np.array(1 / LEVELS, np.float32))], "scale")
    body.node("Shape", ["scale"], "shape")
    body.node("Expand", [body.constant("zero", np.array(128, np.uint8)), "shape"], "zeros")
    body.node("QuantizeLinear", [name, "scale", "zeros"], "levels")
    for attribute in ("axis", "block_size"):
        body.refer(attribute, onnx.AttributeProto.INT)


def _gated(body: Body, out: str) -> None:
    body.node("Split", ["both"], ["gate", "up"], axis=-1, num_outputs=2)
    body.node("Sigmoid", ["gate"], "open")
    body.node("Mul", ["gate", "open"], "silu")
    body.node("Mul", ["silu", "up"], out)


def _swiglu(graph: Graph) -> None:
    """gate · sigmoid(gate), times another product of the same input."""
    for sigmoid in graph.of_type("Sigmoid"):
        gate = sigmoid.input[0]
        silu = _only(graph, sigmoid.output[0], "Mul", gate)
        product = _only(graph, silu.output[0], "Mul") if silu is not None else None
        if silu is None or product is None:
            continue
        up = next(name for name in product.input if name != silu.output[0])
        if _takes(graph, gate) and (both := _join_products(graph, gate, up, {id(sigmoid), id(silu), id(product)})):
            for node in (sigmoid, silu, product):
                graph.remove(node)
            graph.node("SwiGLU", [both], list(product.output), domain=DOMAIN)


JOINED_ALONG = {"MatMulNBits": {1: 0, 2: 0, 3: 0}, "MatMulIntegerToFloat": {1: 1, 3: 0}}
"""By product: its inputs that hold something for each output, and along which axis."""


def _join_products(graph: Graph, left: str, right: str, readers: set[int]) -> str:
    """Make two quantized products of one input, read by `readers` alone, one. Returns its output; else nothing."""
    first, second = graph.maker.get(left), graph.maker.get(right)
    if first is None or second is None or first.op_type != second.op_type:
        return ""
    if any(id(node) not in readers for name in (left, right) for node in graph.readers(name)):
        return ""
    if first.op_type == "Mul":  # by the scales of the rows
        inner = first.input[1] == second.input[1] and _join_products(graph, first.input[0], second.input[0],
                                                                     {id(first), id(second)})  # fmt: skip
        if not inner:
            return ""
        inputs, values, domain = [inner, first.input[1]], {}, ""
    else:
        inputs, values, domain = list(first.input), _values(first), MICROSOFT
        others, axes = _values(second), JOINED_ALONG.get(first.op_type, {})
        count = values.pop("N", 0) + others.pop("N", 0)
        same = [
            ours == theirs for i, (ours, theirs) in enumerate(zip(inputs, second.input, strict=True)) if i not in axes
        ]
        if not axes or values != others or not all(same):
            return ""
        for i, axis in axes.items():
            parts = [graph.array(node.input[i]) for node in (first, second)]
            inputs[i] = graph.constant(f"{inputs[i]}.both", np.concatenate(parts, axis))
        values |= {"N": count} if count else {}
    graph.remove(first)
    graph.remove(second)
    return graph.node(first.op_type, inputs, [f"{left}.both"], domain=domain, **values)


def _swiglu_quantize(graph: Graph) -> None:
    for gated in graph.of_type("SwiGLU"):
        rows = _only(graph, gated.output[0], "QuantizeRows")
        if rows is not None:
            graph.remove(gated)
            graph.remove(rows)
            graph.node("SwiGLUQuantize", list(gated.input), list(rows.output), domain=DOMAIN, **_values(rows))


def _add_norm_quantize(graph: Graph) -> None:
    """Also takes in the multiplication that ends a product with a scale for each row."""
    for norm in graph.of_type("SkipSimplifiedLayerNormalization"):
        quantize = _only(graph, norm.output[0], "QuantizeLinear")
        if quantize is None or not _takes(graph, norm.input[0]) or len(norm.input) > 3:
            continue
        delta, factor = norm.input[1], graph.constant("pointwise.one", np.ones(1, np.float32))
        scaled = graph.maker.get(delta)
        if scaled is not None and scaled.op_type == "Mul" and len(graph.readers(delta)) == 1:
            product = graph.maker.get(scaled.input[0])
            if product is not None and product.op_type == "MatMulIntegerToFloat":
                delta, factor = scaled.input
        total = norm.output[3] if len(norm.output) > 3 and norm.output[3] else f"{quantize.output[0]}.sum"
        graph.remove(norm)
        graph.remove(quantize)
        inputs = [norm.input[0], delta, factor, norm.input[2], quantize.input[1]]
        graph.node("AddNormQuantize", inputs, [quantize.output[0], total], domain=DOMAIN, **_values(norm))


def _only(graph: Graph, name: str, kind: str, other: str | None = None) -> onnx.NodeProto | None:
    """The node that alone reads a value, if it is of that kind and reads `other` too."""
    readers = graph.readers(name)
    found = len(readers) == 1 and readers[0].op_type == kind and (other is None or other in readers[0].input)
    return readers[0] if found and name not in graph.outputs else None


def _takes(graph: Graph, name: str) -> bool:
    """Whether rows of this value are of a width that the kernels take."""
    width = (graph.shapes.get(name) or [""])[-1]
    return isinstance(width, int) and width % LANES == 0


def _values(node: onnx.NodeProto) -> dict[str, Any]:
    return {part.name: helper.get_attribute_value(part) for part in node.attribute}
