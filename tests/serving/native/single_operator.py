"""One operator of the domain `metroline` as a model, run by its kernel or as its function."""

from collections.abc import Collection, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.adapters import operators as adapters
from pipelines.exporting.onnx import operators
from pipelines.exporting.quantize import cache as quantized_cache
from pipelines.exporting.quantize import packed, pointwise
from serving.native import library, register

TYPES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
         "int32": TensorProto.INT32, "int64": TensorProto.INT64, "bfloat16": TensorProto.BFLOAT16}  # fmt: skip
OPSET = 23

needs_kernels = pytest.mark.skipif(
    library() is None, reason="the kernels were not built: no C compiler at installation"
)


def session(kind: str, feeds: dict[str, np.ndarray | None], outputs: dict[str, str], kernels: bool, threads: int = 2,
            constants: Collection[str] = (), **attributes: Any) -> onnxruntime.InferenceSession:  # fmt: skip
    """Open the operator. `feeds`: by input name, in order, None for one left out; their ranks and types count, and of
    those in `constants` the numbers."""
    functions = [*adapters.functions(OPSET), *pointwise.functions(OPSET), *packed.functions(OPSET)]
    if kind == "CachedAttention":
        heads, scale = attributes["kv_num_heads"], feeds["key_scale"]
        cosine = feeds["cos"]
        plain = {**attributes, "do_rotary": 1} if cosine is not None else attributes
        attention = helper.make_node("GroupQueryAttention", ["q", "" if feeds["key"] is None else "k"], ["o"], **plain)
        turned = 0 if cosine is None else 2 * cosine.shape[1]
        functions.append(quantized_cache.function(attention, heads, len(scale) // heads, turned, OPSET))
    return load(kind, feeds, outputs, functions, kernels, threads, constants, **attributes)


def load(kind: str, feeds: dict[str, np.ndarray | None], outputs: dict[str, str],
         functions: Sequence[onnx.FunctionProto], kernels: bool, threads: int, constants: Collection[str] = (),
         **attributes: Any,
         ) -> onnxruntime.InferenceSession:  # fmt: skip
    """Open it with these functions in the file."""
    inputs = [
        helper.make_tensor_value_info(name, TYPES[str(x.dtype)], [None] * x.ndim)
        for name, x in feeds.items() if x is not None and name not in constants
    ]  # fmt: skip
    weights = [numpy_helper.from_array(x, name) for name, x in feeds.items() if x is not None and name in constants]
    node = helper.make_node(kind, [name if x is not None else "" for name, x in feeds.items()], list(outputs),
                            domain=operators.DOMAIN, **attributes)  # fmt: skip
    results = [helper.make_tensor_value_info(name, TYPES[type_], None) for name, type_ in outputs.items()]
    proto = helper.make_model(
        helper.make_graph([node], kind, inputs, results, weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=11,
    )
    operators.attach(proto, functions)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    assert not kernels or register(options)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(kind: str, feeds: dict[str, np.ndarray | None], outputs: dict[str, str], kernels: bool, threads: int = 2,
        constants: Collection[str] = (), **attributes: Any) -> list[np.ndarray]:  # fmt: skip
    """The operator's outputs."""
    opened = session(kind, feeds, outputs, kernels, threads, constants, **attributes)
    return answer(opened, {name: x for name, x in feeds.items() if name not in constants})


def answer(opened: onnxruntime.InferenceSession, feeds: dict[str, np.ndarray | None]) -> list[np.ndarray]:
    """The outputs for these inputs; NumPy's own interface knows no bfloat16."""
    values = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(x.view(np.uint16), TensorProto.BFLOAT16)
        if x.dtype == ml_dtypes.bfloat16 else onnxruntime.OrtValue.ortvalue_from_numpy(x)
        for name, x in feeds.items() if x is not None
    }  # fmt: skip
    return [each.numpy() for each in opened.run_with_ort_values(None, values)]
