"""The key/value cache in 8 bits: a quarter of float32's bytes, half of float16's.

Every number is stored as round(x / scale) with one fixed scale for each channel of each head, found by calibration
(`ranges.py`). ONNX Runtime's GroupQueryAttention reads and writes such a cache, and for one new token a row that is
faster than float32, because the cache of many streams does not fit the processor's caches. For several new tokens its
quantized kernel is five times as slow as its float32 one (13.2 against 2.5 ms a layer with 512 tokens, 9 heads of 64),
so the node is put into an `If` on the number of new tokens. Prefill turns the new queries and keys by their positions
(RoPE) itself, rounds the new keys and values, and attends in float32 to what the cache holds of both, old and new: so
a token sees the same keys whether they came in its own call or in one before, and where a prompt is cut into chunks
changes nothing. Past and present may share one buffer in both branches.

Unlike the float32 graph's, the cache must have room for the new tokens: past is [batch, kv_heads, capacity, head_dim].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from pipelines.exporting.onnx_graph import MICROSOFT, Graph

LEVELS = 127.0
CONSTANTS = {
    "zero": np.array(0), "one": np.array(1), "zero1": np.array([0]), "two1": np.array([2]), "zero8": np.int8(0),
    "unit": np.float32(1), "column": np.array([-1, 1, 1, 1]),
    "line": np.array([1, 1, -1, 1]),
    "row": np.array([1, 0, 0]), "token": np.array([0, 0, 1]),
}  # fmt: skip


def quantize_cache(graph: Graph, ranges: Mapping[str, np.ndarray]) -> None:
    """Change every GroupQueryAttention. `ranges`: largest magnitudes [kv_heads, head_dim] of each present.* output."""
    for name, value in CONSTANTS.items():
        graph.constant(f"cache.{name}", value)
    new = graph.node("Shape", ["input_ids"], ["cache.new1"], start=1, end=2)
    new = graph.node("Squeeze", [new], ["cache.new"])
    graph.node("Greater", [new, "cache.one"], ["cache.several"])
    batch = graph.node("Shape", ["input_ids"], ["cache.batch1"], start=0, end=1)
    graph.node("Squeeze", [batch], ["cache.batch"])
    graph.node("Cast", ["total_sequence_length"], ["cache.end"], to=TensorProto.INT64)
    graph.node("Sub", ["cache.end", "cache.new"], ["cache.start"])
    graph.node("Unsqueeze", ["cache.start", "cache.zero1"], ["cache.start1"])
    for attention in graph.of_type("GroupQueryAttention"):
        _branch(graph, attention, ranges)
    for value in (*graph.proto.input, *graph.proto.output):
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.elem_type = TensorProto.INT8
            value.type.tensor_type.shape.dim[2].dim_param = "capacity"


class _Branch:
    """The nodes of one branch, under names of their own."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.nodes = prefix, list[onnx.NodeProto]()

    def node(self, kind: str, inputs: list[str], outputs: str | list[str], **attributes: Any) -> str:
        """Add a node; returns its first output."""
        names = [self.prefix + name for name in ([outputs] if isinstance(outputs, str) else outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def graph(self, name: str, outputs: list[str]) -> onnx.GraphProto:
        """As a graph without inputs: it reads the values of the graph around it."""
        types = [TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT8]
        values = [
            helper.make_tensor_value_info(value, type_, None) for value, type_ in zip(outputs, types, strict=True)
        ]
        return helper.make_graph(self.nodes, name, [], values)


def _branch(graph: Graph, attention: onnx.NodeProto, ranges: Mapping[str, np.ndarray]) -> None:
    """Put one attention into an `If`."""
    out, *presents = attention.output
    scales = [(np.maximum(ranges[name], 1e-6) / LEVELS).astype(np.float32) for name in presents]  # [Hkv, D]
    names = [graph.constant(f"{name}.scale", scale.reshape(-1)) for name, scale in zip(presents, scales, strict=True)]
    for name, scale in zip(names, scales, strict=True):
        graph.constant(f"{name}.inverse", 1 / scale.reshape(-1))
        graph.constant(f"{name}.wide", scale[None, :, None])
    graph.remove(attention)
    one = _one(attention, f"{out}.cache.one.", names)
    several = _several(graph, attention, f"{out}.cache.several.", names)
    graph.node("If", ["cache.several"], [out, *presents], then_branch=several, else_branch=one)


def _one(attention: onnx.NodeProto, prefix: str, scales: list[str]) -> onnx.GraphProto:
    """One new token a row: the quantized kernel."""
    branch = _Branch(prefix)
    inputs = [*attention.input, *[""] * (12 - len(attention.input)), *scales]
    outputs = ["out", "key", "value"]
    branch.node("GroupQueryAttention", inputs, outputs, domain=MICROSOFT, kv_cache_bit_width=8,
                k_quant_type="PER_CHANNEL", v_quant_type="PER_CHANNEL", **_attributes(attention))  # fmt: skip
    return branch.graph("one", [prefix + name for name in outputs])


def _several(graph: Graph, attention: onnx.NodeProto, prefix: str, scales: list[str]) -> onnx.GraphProto:
    """Several new tokens of one row, or of several rows whose cache is empty: the float32 kernel."""
    branch, attributes = _Branch(prefix), _attributes(attention)
    inputs = [*attention.input, *[""] * (9 - len(attention.input))]
    kv_heads, width = attributes["kv_num_heads"], len(graph.array(scales[0])) // attributes["kv_num_heads"]
    query, key, value = _separate(graph, branch, inputs, attributes["num_heads"] * width, kv_heads * width)
    if attributes.pop("do_rotary", 0):
        turn = {"domain": MICROSOFT, "interleaved": attributes.pop("rotary_interleaved", 0)}
        if (turned := 2 * graph.array(inputs[7]).shape[1]) != width:
            turn["rotary_embedding_dim"] = turned
        where = ["cache.start1", *inputs[7:9]]
        query = branch.node(
            "RotaryEmbedding", [query, *where], "query.turned", num_heads=attributes["num_heads"], **turn
        )
        key = branch.node("RotaryEmbedding", [key, *where], "key.turned", num_heads=kv_heads, **turn)
    graph.constant("cache.heads4", np.array([0, 0, kv_heads, width]))
    index, outputs, past, seen = _index(graph, branch, kv_heads), [], [], []
    for i, (new, cache, scale) in enumerate(zip((key, value), inputs[3:5], scales, strict=True)):
        levels = branch.node("Mul", [new, f"{scale}.inverse"], f"scaled.{i}")
        levels = branch.node("QuantizeLinear", [levels, "cache.unit", "cache.zero8"], f"levels.{i}")
        float_ = branch.node("Cast", [levels], f"float.{i}", to=TensorProto.FLOAT)
        seen.append(branch.node("Mul", [float_, scale], f"seen.{i}"))
        used = branch.node("Slice", [cache, "cache.zero1", "cache.start1", "cache.two1"], f"used.{i}")
        used = branch.node("Cast", [used], f"used.float.{i}", to=TensorProto.FLOAT)
        past.append(branch.node("Mul", [used, f"{scale}.wide"], f"past.{i}"))
        rows = branch.node("Reshape", [levels, "cache.heads4"], f"rows.{i}")
        rows = branch.node("Transpose", [rows], f"heads.{i}", perm=[0, 2, 1, 3])
        outputs.append(branch.node("ScatterND", [cache, index, rows], f"present.{i}"))
    branch.node("GroupQueryAttention", [query, *seen, *past, *inputs[5:7], "", "", *inputs[9:]],
                ["out", "all.0", "all.1"], domain=MICROSOFT, **attributes)  # fmt: skip
    return branch.graph("several", [f"{prefix}out", *outputs])


def _separate(graph: Graph, branch: _Branch, inputs: list[str], queries: int, keys: int) -> list[str]:
    """Query, key and value [B, S, ...], which the first input may hold together."""
    if inputs[1]:
        return inputs[:3]
    sizes = graph.constant("cache.sizes", np.array([queries, keys, keys]))
    branch.node("Split", [inputs[0], sizes], ["query", "key", "value"], axis=-1)
    return [branch.prefix + name for name in ("query", "key", "value")]


def _index(graph: Graph, branch: _Branch, kv_heads: int) -> str:
    """Where the new rows of head_dim numbers go: indices [batch, kv_heads, new, 3] into the cache."""
    heads = np.zeros((1, kv_heads, 1, 3), np.int64)
    heads[0, :, 0, 1] = np.arange(kv_heads)
    graph.constant("cache.heads", heads)
    rows = branch.node("Range", ["cache.zero", "cache.batch", "cache.one"], "batch")
    rows = branch.node("Mul", [branch.node("Reshape", [rows, "cache.column"], "rows"), "cache.row"], "row")
    tokens = branch.node("Range", ["cache.start", "cache.end", "cache.one"], "new")
    tokens = branch.node("Mul", [branch.node("Reshape", [tokens, "cache.line"], "tokens"), "cache.token"], "token")
    return branch.node("Add", [branch.node("Add", [rows, "cache.heads"], "row.head"), tokens], "index")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {part.name: helper.get_attribute_value(part) for part in node.attribute}
