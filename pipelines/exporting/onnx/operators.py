"""Operators of our own in exported graphs: each is also written down as a function of ONNX Runtime's.

A node in the domain `metroline` is run by the kernel of `serving/native` where that library is registered, in one pass
over its numbers; anywhere else ONNX Runtime takes the function from the file and runs its nodes. So a graph needs
nothing but ONNX Runtime, and the two ways hold each other to account (`tests/serving/native`).

This module builds such functions; `quantize/cache.py` and `quantize/pointwise.py` say which there are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pipelines.exporting.onnx.graph import MICROSOFT

DOMAIN = "metroline"
LANES = 16
"""What the kernels take widths in multiples of."""

BANK, ADAPTER = "adapters", "adapter"
"""The inputs that a graph with room for adapters has besides: `pipelines/exporting/adapters`."""

PORTABLE = "Portable"
"""Ends the name of an operator that no kernel takes, because of its shape: always the function."""


class Body:
    """The nodes of a function, or of one branch in it, in order."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix, self.nodes = prefix, list[onnx.NodeProto]()

    def node(self, kind: str, inputs: Sequence[str], outputs: str | Sequence[str], **attributes: Any) -> str:
        """Add a node; returns its first output, under the body's prefix."""
        names = [self.prefix + name for name in ([outputs] if isinstance(outputs, str) else outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, once. Returns its name, which has no prefix."""
        if not any(name in node.output for node in self.nodes):
            tensor = numpy_helper.from_array(np.asarray(value))
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def branch(self, name: str, outputs: dict[str, int]) -> onnx.GraphProto:
        """As a graph without inputs, which reads the values around it; `outputs` with their types."""
        values = [helper.make_tensor_value_info(value, type_, None) for value, type_ in outputs.items()]
        return helper.make_graph(self.nodes, name, [], values)

    def function(
        self, name: str, inputs: Sequence[str], outputs: Sequence[str], opset: int, attributes: Iterable[str] = ()
    ) -> onnx.FunctionProto:
        """As the operator `name`."""
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_function(DOMAIN, name, inputs, outputs, self.nodes, opsets, list(attributes))

    def refer(self, attribute: str, type_: onnx.AttributeProto.AttributeType) -> None:
        """Let the last node take an attribute of that name from the function's caller."""
        self.nodes[-1].attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=attribute, type=type_))


def attach(proto: onnx.ModelProto, functions: Iterable[onnx.FunctionProto]) -> None:
    """Add those functions to a model that its nodes call, or the functions before, and their domain."""
    called = {node.op_type for node in proto.graph.node if node.domain == DOMAIN}
    for function in functions:
        if function.name in called:
            called |= {node.op_type for node in function.node if node.domain == DOMAIN}
        for name in sorted(called & {function.name, function.name + PORTABLE}):
            proto.functions.add().CopyFrom(function)
            proto.functions[-1].name = name
    for domain in [MICROSOFT, *([DOMAIN] if called else [])]:
        if not any(entry.domain == domain for entry in proto.opset_import):
            proto.opset_import.append(helper.make_opsetid(domain, 1))


def opset(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model is written in."""
    return next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
