"""Editing an ONNX graph: who makes a value, who reads it, what is constant. Used by the passes beside it.

    graph = Graph(proto.graph)
    graph.replace("view_3", "linear")       # whoever read view_3 now reads linear
    graph.finish()                          # nodes in order, nothing unused

It knows no model, and of operators only which products have a constant matrix: what quantization is about.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

import numpy as np
import onnx
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"


class Graph:
    """A graph under change. Names stay; `finish` sorts the nodes and drops what nobody reads."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.proto = graph
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.nodes = list(graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.outputs = {value.name for value in graph.output}
        self.shapes = {
            value.name: [part.dim_param or part.dim_value for part in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self._count = 0

    def of_type(self, kind: str) -> Iterator[onnx.NodeProto]:
        """All nodes of an operator, those at the time of the call."""
        yield from [node for node in self.nodes if node.op_type == kind]

    def is_product(self, node: onnx.NodeProto | None) -> TypeGuard[onnx.NodeProto]:
        """Whether it is a MatMul whose right side is constant."""
        return node is not None and node.op_type == "MatMul" and node.input[1] in self.weights

    def products(self) -> Iterator[onnx.NodeProto]:
        """All such products, those at the time of the call."""
        yield from [node for node in self.nodes if self.is_product(node)]

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return [node for node in self.nodes if name in node.input]

    def array(self, name: str) -> np.ndarray:
        """A constant's numbers. Raises KeyError when it is none."""
        return numpy_helper.to_array(self.weights[name])

    def constant(self, name: str, array: Any) -> str:
        """Add a constant; one of that name that is there already is kept. Returns the name."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name)
        return name

    def node(self, kind: str, inputs: Iterable[str], outputs: Iterable[str] | int = 1, **attributes: Any) -> str:
        """Add a node; `outputs` are names, or how many. Returns the first output's name."""
        names = list(outputs) if not isinstance(outputs, int) else [f"{kind}.{self._count}.{i}" for i in range(outputs)]
        self._count += 1
        made = helper.make_node(kind, list(inputs), names, **attributes)
        self.nodes.append(made)
        self.maker.update(dict.fromkeys((name for name in names if name), made))
        return names[0]

    def remove(self, node: onnx.NodeProto) -> None:
        """Take a node out; its outputs must get another maker."""
        self.nodes = [other for other in self.nodes if other is not node]

    def replace(self, old: str, new: str) -> None:
        """Let all readers of `old` read `new`. An output of the graph cannot be replaced."""
        if old in self.outputs:
            raise ValueError(f"{old} is an output of the graph")
        for node in self.nodes:
            if old in node.input:
                node.input[:] = [new if name == old else name for name in node.input]

    def prune(self) -> set[str]:
        """Put the nodes into an order that runs and drop those nobody reads. Returns all values that are read."""
        needed: list[onnx.NodeProto] = []
        visited: set[int] = set()
        read: set[str] = set()
        stack = [(self.maker[name], False) for name in reversed([value.name for value in self.proto.output])]
        while stack:
            node, done = stack.pop()
            if done:
                needed.append(node)
                continue
            if id(node) in visited:
                continue
            visited.add(id(node))
            inputs = [*node.input, *(name for name in _captured(node))]
            read.update(inputs)
            stack.append((node, True))
            stack += [(self.maker[name], False) for name in reversed(inputs) if name in self.maker]
        self.nodes = needed
        return read

    def finish(self) -> None:
        """Write nodes and constants back, pruned."""
        read = self.prune()
        made = {name for node in self.nodes for name in node.output}
        shapes = [value for value in self.proto.value_info if value.name in made]
        del self.proto.node[:], self.proto.initializer[:], self.proto.value_info[:]
        self.proto.value_info.extend(shapes)
        self.proto.node.extend(self.nodes)
        self.proto.initializer.extend(weight for name, weight in self.weights.items() if name in read)


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """What a node's branches read of the graph around them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from inner.input
                yield from _captured(inner)
