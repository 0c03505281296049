"""Products in the kernels' order compute, as functions, what they did before; shapes that no kernel takes stay."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.onnx import operators
from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.quantize import packed
from pipelines.exporting.quantize.gptq import bfloat16

OPSET = 23


def model(kind: str, x: np.ndarray, constants: dict[str, np.ndarray], **attributes: int) -> onnx.ModelProto:
    """out = one product of x."""
    node = helper.make_node(kind, ["x", *constants], ["out"], domain=MICROSOFT, **attributes)
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    type_ = helper.np_dtype_to_tensor_dtype(x.dtype)
    inputs = [helper.make_tensor_value_info("x", type_, x.shape)]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], kind, inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def pack(proto: onnx.ModelProto) -> str:
    """Returns the operator that there is now."""
    graph = Graph(proto.graph)
    packed.pack(graph)
    graph.finish()
    operators.attach(proto, packed.functions(OPSET))
    [node] = proto.graph.node
    return node.op_type


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def levels(width: int, outputs: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    constants = {
        "weights": generator.integers(-128, 128, (width, outputs), dtype=np.int8),
        "scale": np.array(0.1, np.float32),
        "columns": generator.uniform(0, 1, outputs).astype(np.float32),
        "zero": np.array(128, np.uint8),
    }
    return generator.integers(0, 256, (2, 3, width), dtype=np.uint8), constants


def blocks(width: int, outputs: int, bits: int, block: int) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int]]:
    generator, count = np.random.default_rng(0), -(-width // block)
    points = (outputs, (count + 1) // 2 if bits == 4 else count)
    constants = {
        "bits": generator.integers(0, 256, (outputs, count, block * bits // 8), dtype=np.uint8),
        "scales": bfloat16(generator.uniform(0.01, 1, (outputs, count)).astype(np.float32)),
        "zeros": generator.integers(0, 256, points, dtype=np.uint8),
    }
    attributes = {"K": width, "N": outputs, "bits": bits, "block_size": block, "accuracy_level": 4}
    return generator.normal(size=(2, 3, width)).astype(np.float32), constants, attributes


@pytest.mark.parametrize(("width", "outputs"), [(4, 16), (100, 48), (576, 64)])
def test_levels_give_the_same_bits(width: int, outputs: int) -> None:
    x, constants = levels(width, outputs)
    proto = model("MatMulIntegerToFloat", x, constants)
    wanted = run(proto, x)
    assert pack(proto) == "PackedMatMul"
    assert (run(proto, x) == wanted).all()


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 32), (8, 64)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_blocks_give_the_same_bits(bits: int, block: int, count: int) -> None:
    x, constants, attributes = blocks(count * block, 48, bits, block)
    proto = model("MatMulNBits", x, constants, **attributes)
    wanted = run(proto, x)
    assert pack(proto) == "PackedMatMulNBits"
    assert (run(proto, x) == wanted).all()
    stored = {weight.name: weight for weight in proto.graph.initializer}
    assert stored["scales.packed"].data_type == TensorProto.BFLOAT16
    assert set(stored) == {"bits.packed", "scales.packed", "zeros.packed"}


@pytest.mark.parametrize(("width", "outputs"), [(6, 16), (8, 24), (8, 1)])
def test_levels_of_other_shapes_stay(width: int, outputs: int) -> None:
    x, constants = levels(width, outputs)
    assert pack(model("MatMulIntegerToFloat", x, constants)) == "MatMulIntegerToFloat"


@pytest.mark.parametrize(
    "changes",
    [{"zero": np.array(127, np.uint8)}, {"bias": np.ones(16, np.float32)}, {"columns": np.array(1, np.float32)}],
    ids=lambda changes: next(iter(changes)),
)
def test_levels_of_other_kinds_stay(changes: dict[str, np.ndarray]) -> None:
    x, constants = levels(8, 16)
    assert pack(model("MatMulIntegerToFloat", x, constants | changes)) == "MatMulIntegerToFloat"


@pytest.mark.parametrize(
    ("width", "outputs", "bits", "block"),
    [(48, 16, 4, 32), (64, 24, 4, 32), (64, 16, 4, 64), (96, 16, 8, 64), (16, 8, 8, 16)],
)
def test_blocks_of_other_shapes_stay(width: int, outputs: int, bits: int, block: int) -> None:
    x, constants, attributes = blocks(width, outputs, bits, block)
    assert pack(model("MatMulNBits", x, constants, **attributes)) == "MatMulNBits"


def test_scales_of_more_precision_stay() -> None:
    x, constants, attributes = blocks(64, 16, 4, 32)
    constants["scales"] = constants["scales"] * np.float32(1.001)
    assert pack(model("MatMulNBits", x, constants, **attributes)) == "MatMulNBits"


def test_bfloat16_rounds_up_to_what_has_eight_bits() -> None:
    values = np.array([0, 1, 1.0001, 0.3, 3e-38, 1e30], np.float32)
    found = bfloat16(values)
    assert (found >= values).all()
    assert found == pytest.approx(values, rel=2**-7)
    assert not (found.view(np.uint32) & 0xFFFF).any()
    assert found[:2].tolist() == [0, 1]
