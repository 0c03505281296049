"""model.onnx: prefill and decode in one graph, attention as ONNX Runtime's GroupQueryAttention.

The same weights give the same bytes: everything that only says how the graph came about is removed.
"""

from pathlib import Path

import onnx
import torch

from models.common.stateful import Stepper
from models.decoder.cached import CachedDecoder
from pipelines.exporting.onnx.fusion import fuse
from pipelines.exporting.onnx.tidy import quiet, strip

OPSET = 23  # the first with RMSNormalization: one node instead of seven, and decoding in about half the time


def export(model: CachedDecoder | Stepper, path: Path) -> None:
    """Write the graph; its inputs and outputs are the model's, and so are the dimensions that vary."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            model.example_inputs(),
            dynamo=True,
            optimize=True,
            opset_version=OPSET,
            input_names=model.input_names,
            output_names=model.output_names,
            dynamic_shapes=model.dynamic_shapes(),
            verbose=False,
        )
    assert program is not None  # only without dynamo is there none
    proto = program.model_proto
    strip(proto)
    fold_transposes(proto.graph)
    fuse(proto.graph)
    onnx.checker.check_model(proto, full_check=False)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def fold_transposes(graph: onnx.GraphProto) -> None:
    """Store transposed weights (the tied head's) as weights of their own, which int8 quantization can then take."""
    weights = {weight.name: weight for weight in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Gemm" and len(node.input) == 2]:  # of [rows, W]
        array = onnx.numpy_helper.to_array(weights[node.input[1]]).T
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"{node.output[0]}.weight"))
        node.CopyFrom(onnx.helper.make_node("MatMul", [node.input[0], f"{node.output[0]}.weight"], node.output))
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]:
        order = next(list(attribute.ints) for attribute in node.attribute if attribute.name == "perm")
        array = onnx.numpy_helper.to_array(weights[node.input[0]]).transpose(order)
        graph.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
        graph.node.remove(node)
