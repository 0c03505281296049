"""Which attentions the kernel for the 8-bit cache is asked to run, and which stay ONNX Runtime's."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize.cache import quantize_cache


def quantized(width: int = 64, more_inputs: tuple[str, ...] = (), **attributes: object) -> str:
    """The operator that one attention over a packed input becomes."""
    value = helper.make_tensor_value_info
    cache = {name: value(name, TensorProto.FLOAT, ["batch", 1, "past", width])
             for name in ("past_key_values.0.key", "past_key_values.0.value")}  # fmt: skip
    presents = [name.replace("past_key_values", "present") for name in cache]
    node = helper.make_node(
        "GroupQueryAttention", ["x", "", "", *cache, "lengths", "total", *more_inputs], ["out", *presents],
        domain="com.microsoft", **{"num_heads": 3, "kv_num_heads": 1, "scale": 0.1, **attributes},
    )  # fmt: skip
    graph = Graph(helper.make_graph(
        [node], "one", [value("x", TensorProto.FLOAT, ["batch", "new", 5 * width]), *cache.values()],
        [value("out", TensorProto.FLOAT, ["batch", "new", 3 * width]),
         *(value(name, TensorProto.FLOAT, ["batch", 1, "total", width]) for name in presents)],
    ))  # fmt: skip
    functions = quantize_cache(graph, {name: np.ones((1, width)) for name in presents}, 23)
    assert [function.name for function in functions] == ["CachedAttention"]
    return next(node.op_type for node in graph.nodes if node.domain == "metroline")


def test_shapes() -> None:
    assert quantized() == quantized(width=16) == quantized(width=256) == "CachedAttention"
    assert quantized(width=24) == quantized(width=272) == "CachedAttentionPortable"
    assert quantized(num_heads=16) == "CachedAttention"
    assert quantized(num_heads=17) == "CachedAttentionPortable"


@pytest.mark.parametrize(("name", "value"), [("softcap", 30.0), ("local_window_size", 128), ("rotary_interleaved", 1)])
def test_what_the_kernel_does_not_know(name: str, value: float) -> None:
    assert quantized(**{name: value}) == "CachedAttentionPortable"
    assert quantized(**{name: type(value)(0)}) == "CachedAttention"


def test_inputs_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match=r"knows no attention with the inputs \['', 'bias'\]"):
        quantized(more_inputs=("", "", "", "bias"))
