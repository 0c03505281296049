"""Give a graph the operators by which each sequence has an adapter of its own; all else of it stays as it is.

The graph gets two inputs: `adapters` bfloat16 [adapters + 1, size], the bank, and `adapter` int32 [batch], which row of
it a sequence has; 0: none, and its results are those of the graph without adapters, to the last bit.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from base.errors import MetrolineError
from pipelines.exporting.adapters.bank import Place, Slot
from pipelines.exporting.adapters.operators import ADAPTERS, BLOCK, LOW_RANK, PRODUCT, functions
from pipelines.exporting.onnx import operators
from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.onnx.operators import ADAPTER, BANK
from pipelines.exporting.quantize.frames import Frame, Frames

BOTH, PARTIAL = ".both", ".product"
"""What the passes of `quantize/` add to the name of a product's output: it is gate's and up's, scales come after it."""

Products = dict[str, tuple[str, ...]]
"""The output of a product in the float32 graph → the layers whose matrices it holds side by side."""


def products(path: Path, network: nn.Module) -> Products:
    """The products of the graph at `path` with layers of `network`, all but the output's, known by their numbers."""
    graph = Graph(onnx.load(path).graph)
    left = {
        name: module.weight.detach().numpy().T
        for name, module in network.named_modules()
        if type(module) is nn.Linear and name != "lm_head"
    }
    found: Products = {}
    for node in graph.products():
        matrix, layers = graph.array(node.input[1]), list[str]()
        column = 0
        while column < matrix.shape[1]:
            name = next((name for name, each in left.items() if _begins(matrix[:, column:], each)), None)
            if name is None:
                break
            column += left.pop(name).shape[1]
            layers.append(name)
        if layers:
            found[node.output[0]] = tuple(layers)
    if left:
        raise MetrolineError(f"export.adapters: {path.name} has no product with {next(iter(left))}")
    return found


def insert(path: Path, network: nn.Module, found: Products, rank: int, frames: Frames) -> tuple[Slot, ...]:
    """Change the graph at `path`, a form of the one that `found` was found in, and say where adapters go.

    `frames`: what became of its matrices. Raises MetrolineError for widths that the operators do not take.
    """
    proto = onnx.load(path)
    graph = Graph(proto.graph)
    slots: list[Slot] = []
    for node in list(graph.nodes):
        if node.op_type not in (*_OTHERS, "PackedMatMul") or not (parts := _parts(graph, node.output[0], found)):
            continue
        names = tuple(name for part in parts for name in found[part])
        widths = tuple(len(_weight(network, name)) for name in names)
        place = Place(slots[-1].place.end if slots else 0, _weight(network, names[0]).shape[1], widths, rank)
        if any(width % BLOCK for width in (place.inputs, *widths)):
            raise MetrolineError(
                f"export.adapters: {names[0]} is {place.inputs} by {widths[0]}, not multiples of {BLOCK}",
                hint="merge the adapter instead: export.merged",
            )
        slots.append(Slot(place, names, _frame([(frames[part], _width(network, found[part])) for part in parts])))
        _replace(graph, node, place)
    if {name for slot in slots for name in slot.layers} != {name for names in found.values() for name in names}:
        raise MetrolineError(f"export.adapters: {path.name} has products that adapters cannot be added to")
    size = slots[-1].place.end
    proto.graph.input.extend([
        helper.make_tensor_value_info(BANK, TensorProto.BFLOAT16, ["adapters", size]),
        helper.make_tensor_value_info(ADAPTER, TensorProto.INT32, ["batch"]),
    ])  # fmt: skip
    graph.finish()
    operators.attach(proto, functions(operators.opset(proto)))
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return tuple(slots)


_OTHERS = ("MatMul", "MatMulNBits", "PackedMatMulNBits")
"""Products of float32 inputs."""


def _replace(graph: Graph, node: onnx.NodeProto, place: Place) -> None:
    """Let the product's readers read it with its adapters."""
    widths = "x".join(map(str, place.outputs))
    of = graph.constant(f"adapters.{widths}.layer_of", place.layer_of)
    more = dict(zip(ADAPTERS, (of, BANK, ADAPTER), strict=True))
    attributes = {"at": place.at, "rank": place.rank, "layers": len(place.outputs)}
    if node.op_type == "PackedMatMul":
        graph.remove(node)
        graph.node(PRODUCT, [*node.input, *more.values()], list(node.output), domain=operators.DOMAIN, **attributes)
        return
    out = node.output[0]
    node.output[0] = f"{out}.base"
    graph.maker[f"{out}.base"] = node
    graph.node(LOW_RANK, [f"{out}.base", node.input[0], *more.values()], [out], domain=operators.DOMAIN, **attributes)


def _parts(graph: Graph, output: str, found: Products) -> list[str]:
    """The products of the float32 graph that one of a quantized graph came from; none: no layer's."""
    name = output
    for end in (PARTIAL, BOTH, PARTIAL):
        name = name.removesuffix(end)
    if name not in found:
        return []
    if BOTH not in output[len(name) :]:
        return [name]
    order = list(found)
    return [name, order[order.index(name) + 1]]  # gate's product, and up's after it


def _frame(frames: list[tuple[Frame, int]]) -> Frame:
    """Of products side by side, each with its width; they have one input."""
    first = frames[0][0]
    if len(frames) == 1:
        return first
    if any(frame.turn_out for frame, _ in frames):
        raise MetrolineError("export.adapters: products side by side that write to the residual stream")
    factors = [np.ones(width, np.float32) if frame.factor is None else frame.factor for frame, width in frames]
    return Frame(first.gain, first.turn_in, factor=np.concatenate(factors))


def _width(network: nn.Module, layers: tuple[str, ...]) -> int:
    return sum(len(_weight(network, name)) for name in layers)


def _weight(network: nn.Module, layer: str) -> torch.Tensor:
    """[N, K]"""
    return network.get_parameter(f"{layer}.weight")


def _begins(matrix: np.ndarray, layer: np.ndarray) -> bool:
    columns = matrix[:, : layer.shape[1]]
    return columns.shape == layer.shape and bool((columns == layer).all())
