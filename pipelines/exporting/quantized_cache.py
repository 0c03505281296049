"""The key/value cache in 8 bits: a quarter of float32's bytes, half of float16's.

Every number is stored as round(x / scale) with one fixed scale for each channel of each head, found by calibration
(`ranges.py`). ONNX Runtime's GroupQueryAttention reads and writes such a cache, and for one new token a row that is
faster than float32, because the cache of many streams does not fit the processor's caches. For several new tokens its
quantized kernel is five times as slow as its float32 one (13.2 against 2.5 ms a layer with 512 tokens, 9 heads of 64),
so the node is put into an `If` on the number of new tokens. Prefill dequantizes the past, attends in float32 and writes
the quantized new keys and values to their places. Past and present may share one buffer in both branches.

Unlike the float32 graph's, the cache must have room for the new tokens: past is [batch, kv_heads, capacity, head_dim].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from pipelines.exporting.onnx_graph import MICROSOFT, Graph

LEVELS = 127.0


def quantize_cache(graph: Graph, ranges: Mapping[str, np.ndarray]) -> None:
    """Change every GroupQueryAttention. `ranges`: largest magnitudes [kv_heads, head_dim] of each present.* output."""
    constants = {"zero": np.array(0), "one": np.array(1), "zero1": np.array([0]), "one1": np.array([1]),
                 "two1": np.array([2]), "zero8": np.int8(0), "unit": np.float32(1),
                 "line": np.array([1, 1, -1, 1]), "column": np.array([-1, 1, 1, 1])}  # fmt: skip
    for name, value in constants.items():
        graph.constant(f"cache.{name}", value)
    new = graph.node("Shape", ["input_ids"], ["cache.new1"], start=1, end=2)
    new = graph.node("Squeeze", [new], ["cache.new"])
    graph.node("Greater", [new, "cache.one"], ["cache.several"])
    batch = graph.node("Shape", ["input_ids"], ["cache.batch1"], start=0, end=1)
    graph.node("Squeeze", [batch], ["cache.batch"])
    graph.node("Cast", ["total_sequence_length"], ["cache.end"], to=TensorProto.INT64)
    graph.node("Sub", ["cache.end", "cache.new"], ["cache.start"])
    graph.node("Unsqueeze", ["cache.start", "cache.zero1"], ["cache.start1"])
    graph.node("Unsqueeze", ["cache.end", "cache.zero1"], ["cache.end1"])
    for attention in graph.of_type("GroupQueryAttention"):
        _branch(graph, attention, ranges)
    for value in (*graph.proto.input, *graph.proto.output):
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.elem_type = TensorProto.INT8
            value.type.tensor_type.shape.dim[2].dim_param = "capacity"


def _branch(graph: Graph, attention: onnx.NodeProto, ranges: Mapping[str, np.ndarray]) -> None:
    """Put one attention into an `If`."""
    out, *presents = attention.output
    attributes = {part.name: helper.get_attribute_value(part) for part in attention.attribute}
    scales, wide = [], []
    for name in presents:
        scale = (np.maximum(ranges[name], 1e-6) / LEVELS).astype(np.float32)  # [Hkv, D]
        scales.append(graph.constant(f"{name}.scale", scale.reshape(-1)))
        wide.append(graph.constant(f"{name}.scale4", scale[None, :, None]))
    heads = len(ranges[presents[0]])
    graph.constant("cache.heads", np.arange(heads).reshape(1, heads, 1, 1))
    inputs = [*attention.input, *[""] * (9 - len(attention.input))]
    past, prefix = inputs[3:5], f"{out}.cache."

    one = helper.make_node(
        "GroupQueryAttention", [*inputs, "", "", "", *scales], [f"{prefix}one.{i}" for i in range(3)],
        domain=MICROSOFT, kv_cache_bit_width=8, k_quant_type="PER_CHANNEL", v_quant_type="PER_CHANNEL", **attributes,
    )  # fmt: skip

    nodes = []

    def node(kind: str, inputs: list[str], output: str, **values: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [prefix + output], **values))
        return prefix + output

    floats = []
    for i in range(2):
        used = node("Slice", [past[i], "cache.zero1", "cache.start1", "cache.two1"], f"used.{i}")
        floats.append(node("Mul", [node("Cast", [used], f"float.{i}", to=TensorProto.FLOAT), wide[i]], f"past.{i}"))
    several = [f"{prefix}several.{i}" for i in range(3)]
    nodes.append(helper.make_node("GroupQueryAttention", [*inputs[:3], *floats, *inputs[5:]],
                                  [several[0], f"{prefix}all.0", f"{prefix}all.1"], domain=MICROSOFT,
                                  **attributes))  # fmt: skip
    # indices [batch, kv_heads, new, 3] of the rows of head_dim numbers that are written
    rows = node("Reshape", [node("Range", ["cache.zero", "cache.batch", "cache.one"], "batch"), "cache.column"], "rows")
    where = node("Reshape", [node("Range", ["cache.start", "cache.end", "cache.one"], "new"), "cache.line"], "where")
    shape = node("Add", [node("Add", [rows, "cache.heads"], "grid.0"), where], "grid.1")
    nothing = node("Sub", [shape, shape], "nothing")
    parts = [node("Add", [part, nothing], f"index.{i}") for i, part in enumerate((rows, "cache.heads", where))]
    last = [node("Unsqueeze", [part, "cache.last"], f"index3.{i}") for i, part in enumerate(parts)]
    graph.constant("cache.last", np.array([4]))
    index = node("Concat", last, "index5", axis=4)
    index = node("Squeeze", [index, graph.constant("cache.three", np.array([3]))], "index")
    for i in range(2):
        added = node("Slice", [f"{prefix}all.{i}", "cache.start1", "cache.end1", "cache.two1"], f"added.{i}")
        levels = node("Div", [added, wide[i]], f"levels.{i}")
        stored = node("QuantizeLinear", [levels, "cache.unit", "cache.zero8"], f"stored.{i}")
        nodes.append(helper.make_node("ScatterND", [past[i], index, stored], [several[i + 1]]))

    def branch(name: str, nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.GraphProto:
        types = [TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT8]
        values = [helper.make_tensor_value_info(name, type_, None) for name, type_ in zip(outputs, types, strict=True)]
        return helper.make_graph(nodes, name, [], values)

    graph.remove(attention)
    graph.node(
        "If", ["cache.several"], [out, *presents],
        then_branch=branch("several", nodes, several), else_branch=branch("one", [one], list(one.output)),
    )  # fmt: skip
