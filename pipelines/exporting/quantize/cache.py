"""The key/value cache in 8 bits: a quarter of float32's bytes, half of float16's.

Every number is stored as round(x / scale) with one fixed scale for each channel of each head, found by calibration
(`ranges.py`). The operator `CachedAttention` reads and writes such a cache; `serving/native/attention.c` is its kernel.

As a function of ONNX Runtime's operators it is an `If` on the number of new tokens. For one new token a row,
GroupQueryAttention's own kernel for such a cache is faster than float32, because the cache of many streams does not fit
the processor's caches. For several it is five times as slow (13.2 against 2.5 ms a layer with 512 tokens, 9 heads of
64): so prompts turn the new queries and keys by their positions (RoPE), round the new keys and values, and attend in
float32 to what the cache holds of both, old and new. Either way a token sees the same keys whether they came in its own
call or in one before, and where a prompt is cut into chunks changes nothing. Past and present may share one buffer.

Unlike the float32 graph's, the cache must have room for the new tokens: past is [batch, kv_heads, capacity, head_dim].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.onnx.operators import DOMAIN, LANES, PORTABLE, Body

LEVELS = 127.0
INPUTS = ("query", "key", "value", "past_key", "past_value", "lengths", "total", "cos", "sin", "key_scale",
          "value_scale", "new")  # fmt: skip
OUTPUTS = {"out": TensorProto.FLOAT, "present_key": TensorProto.INT8, "present_value": TensorProto.INT8}
ATTRIBUTES = ("num_heads", "kv_num_heads", "scale")


def quantize_cache(graph: Graph, ranges: Mapping[str, np.ndarray], opset: int) -> list[onnx.FunctionProto]:
    """Change every GroupQueryAttention; all of a graph have one shape. Returns the operator that they become.

    `ranges`: largest magnitudes [kv_heads, head_dim] of each present.* output.
    """
    attentions = list(graph.of_type("GroupQueryAttention"))
    if not attentions:
        return []
    graph.node("Squeeze", [graph.node("Shape", ["input_ids"], ["cache.new1"], start=1, end=2)], ["cache.new"])
    for attention in attentions:
        if any(attention.input[9:]):
            raise ValueError(f"the 8-bit cache knows no attention with the inputs {list(attention.input[9:])}")
        out, *presents = attention.output
        scales = [
            graph.constant(f"{name}.scale", (np.maximum(ranges[name], 1e-6) / LEVELS).astype(np.float32).reshape(-1))
            for name in presents
        ]
        attributes = _attributes(attention)
        inputs = [*attention.input[:9], *[""] * (9 - len(attention.input)), *scales, "cache.new"]
        graph.remove(attention)
        graph.node(_kind(attributes, ranges[presents[0]].shape[1]), inputs, [out, *presents], domain=DOMAIN,
                   **{name: attributes[name] for name in ATTRIBUTES if name in attributes})  # fmt: skip
    for value in (*graph.proto.input, *graph.proto.output):
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.elem_type = TensorProto.INT8
            value.type.tensor_type.shape.dim[2].dim_param = "capacity"
    kv_heads, width = ranges[attentions[0].output[1]].shape
    turned = 2 * graph.array(attentions[0].input[7]).shape[1] if len(attentions[0].input) > 7 else 0
    return [function(attentions[0], kv_heads, width, turned, opset)]


def function(attention: onnx.NodeProto, kv_heads: int, width: int, turned: int, opset: int) -> onnx.FunctionProto:
    """What attentions like this one become. `turned`: of the `width` numbers of a head, how many RoPE turns."""
    packed, attributes = not attention.input[1], _attributes(attention)
    body, one, several = Body(), Body("one."), Body("several.")
    inputs = ["query", *(["", ""] if packed else ["key", "value"]), "past_key", "past_value", "lengths", "total",
              *(["cos", "sin"] if turned else ["", ""])]  # fmt: skip
    one.node("GroupQueryAttention", [*inputs, "", "", "", "key_scale", "value_scale"], list(OUTPUTS), domain=MICROSOFT,
             kv_cache_bit_width=8, k_quant_type="PER_CHANNEL", v_quant_type="PER_CHANNEL", **attributes)  # fmt: skip
    _several(body, several, packed, kv_heads, width, turned, attributes)
    branches = [part.branch(part.prefix, {part.prefix + name: type_ for name, type_ in OUTPUTS.items()})
                for part in (several, one)]  # fmt: skip
    body.node("Greater", ["new", body.constant("unity", np.array(1))], "more")
    body.node("If", ["more"], list(OUTPUTS), then_branch=branches[0], else_branch=branches[1])
    return body.function("CachedAttention", INPUTS, list(OUTPUTS), opset, ATTRIBUTES)


def _kind(attributes: Mapping[str, Any], width: int) -> str:
    """The operator's name, which depends on whether the kernel takes the shape, and all that is asked for."""
    taken = width % LANES == 0 and width <= 256 and attributes["num_heads"] <= 16 * attributes["kv_num_heads"]
    more = any(value for name, value in attributes.items() if name not in (*ATTRIBUTES, "do_rotary"))
    return "CachedAttention" + PORTABLE * (more or not taken)


def _several(
    body: Body, branch: Body, packed: bool, kv_heads: int, width: int, turned: int, attributes: dict[str, Any]
) -> None:
    """Several new tokens of one row, or of several rows whose cache is empty: the float32 kernel."""
    heads = attributes["num_heads"]
    first, units = body.constant("first", np.array([0])), body.constant("units", np.array(1, np.float32))
    zero8, axis = body.constant("zero8", np.array(0, np.int8)), body.constant("axis", np.array([2]))
    rows4 = body.constant("rows4", np.array([0, 0, kv_heads, width]))
    end = branch.node("Cast", ["total"], "end", to=TensorProto.INT64)
    start = branch.node("Sub", [end, "new"], "start")
    start1 = branch.node("Unsqueeze", [start, first], "start1")
    query, key, value = "query", "key", "value"
    if packed:
        sizes = body.constant("sizes", np.array([heads * width, kv_heads * width, kv_heads * width]))
        branch.node("Split", ["query", sizes], ["query", "key", "value"], axis=-1)
        query, key, value = (branch.prefix + name for name in ("query", "key", "value"))
    if turned:
        rotation = {"domain": MICROSOFT, "interleaved": attributes.get("rotary_interleaved", 0)}
        if turned != width:
            rotation["rotary_embedding_dim"] = turned
        query, key = (
            branch.node("RotaryEmbedding", [x, start1, "cos", "sin"], f"{name}.turned", num_heads=count, **rotation)
            for x, name, count in ((query, "query", heads), (key, "key", kv_heads))
        )
    index, past, seen = _index(body, branch, kv_heads, start, end), [], []
    for name, new in (("key", key), ("value", value)):
        scale, cache = f"{name}_scale", f"past_{name}"
        body.node("Reciprocal", [scale], f"{name}.inverse")
        body.node("Reshape", [scale, body.constant("wide", np.array([1, kv_heads, 1, width]))], f"{name}.wide")
        levels = branch.node("Mul", [new, f"{name}.inverse"], f"{name}.scaled")
        levels = branch.node("QuantizeLinear", [levels, units, zero8], f"{name}.levels")
        float_ = branch.node("Cast", [levels], f"{name}.float", to=TensorProto.FLOAT)
        seen.append(branch.node("Mul", [float_, scale], f"{name}.seen"))
        used = branch.node("Slice", [cache, first, start1, axis], f"{name}.used")
        used = branch.node("Cast", [used], f"{name}.used.float", to=TensorProto.FLOAT)
        past.append(branch.node("Mul", [used, f"{name}.wide"], f"{name}.past"))
        rows = branch.node("Reshape", [levels, rows4], f"{name}.rows")
        rows = branch.node("Transpose", [rows], f"{name}.heads", perm=[0, 2, 1, 3])
        branch.node("ScatterND", [cache, index, rows], f"present_{name}")
    kept = {name: part for name, part in attributes.items() if name not in ("do_rotary", "rotary_interleaved")}
    branch.node("GroupQueryAttention", [query, *seen, *past, "lengths", "total"], ["out", "all_keys", "all_values"],
                domain=MICROSOFT, **kept)  # fmt: skip


def _index(body: Body, branch: Body, kv_heads: int, start: str, end: str) -> str:
    """Where the new rows of head_dim numbers go: indices [batch, kv_heads, new, 3] into the cache."""
    heads = np.zeros((1, kv_heads, 1, 3), np.int64)
    heads[0, :, 0, 1] = np.arange(kv_heads)
    zero, unity = body.constant("zero", np.array(0)), body.constant("unity", np.array(1))
    batch = branch.node("Squeeze", [branch.node("Shape", ["lengths"], "batch1")], "batch")
    rows = branch.node("Range", [zero, batch, unity], "rows")
    rows = branch.node("Reshape", [rows, body.constant("column", np.array([-1, 1, 1, 1]))], "rows.column")
    rows = branch.node("Mul", [rows, body.constant("row", np.array([1, 0, 0]))], "rows.index")
    rows = branch.node("Add", [rows, body.constant("heads", heads)], "rows.heads")
    tokens = branch.node("Range", [start, end, unity], "tokens")
    tokens = branch.node("Reshape", [tokens, body.constant("line", np.array([1, 1, -1, 1]))], "tokens.line")
    tokens = branch.node("Mul", [tokens, body.constant("token", np.array([0, 0, 1]))], "tokens.index")
    return branch.node("Add", [rows, tokens], "index")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {part.name: helper.get_attribute_value(part) for part in node.attribute}
