"""Turn the residual stream and the values so that no channel stands out: QuaRot (Ashkboos et al. 2024, 2404.00456).

Outliers of a decoder lie in a few channels of the stream that all layers read and write. With an orthogonal matrix Q,
x · W = (x · Q) · (Qᵀ · W), and an RMS norm without gain commutes with Q; so the gains go into the products that read
the norms, those products get Qᵀ, and the embedding and all products that write to the stream get Q. The same is done
for the values of each attention head, between the product that makes them and the one that reads what attention made
of them. All of that is constants: the graph has the same nodes and computes the same numbers but for rounding.

After it a norm's output has a root mean square of 1 and looks like noise, whatever the text: one fixed scale quantizes
it. The inputs of SwiGLU's last product cannot be turned without work at run time; `smoothing.py` treats them.
"""

from pathlib import Path

import numpy as np
import onnx

from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize.frames import Frames, new_frames, orthogonal

NORMS = {"RMSNormalization": 1, "SkipSimplifiedLayerNormalization": 2}
"""The operators, and which input is the gain."""


def write(source: Path, target: Path) -> Frames:
    """Write the graph of the file `source`, rotated where it can be, to `target`. Returns what became of matrices."""
    proto = onnx.load(source)
    graph = Graph(proto.graph)
    frames = rotate(graph)
    graph.finish()
    target.write_bytes(proto.SerializeToString(deterministic=True))
    return frames


def rotate(graph: Graph) -> Frames:
    """Rotate in place. Returns what became of each product's matrix; nothing: the stream is used in a way that this
    does not know, and nothing changed."""
    frames, found = new_frames(), _stream(graph)
    if found is None:
        return frames
    embedding, norms, writers = found
    turn = orthogonal(graph.array(embedding.input[0]).shape[1])
    embedding.input[0] = graph.constant("embedding.turned", graph.array(embedding.input[0]) @ turn)
    for norm in norms:
        place = NORMS[norm.op_type]
        gain = graph.array(norm.input[place])
        norm.input[place] = graph.constant(f"{norm.output[0]}.gain", np.ones_like(gain))
        for product in graph.readers(norm.output[0]):
            _reweigh(graph, product, turn.T @ (gain[:, None] * graph.array(product.input[1])))
            frames[product.output[0]].gain, frames[product.output[0]].turn_in = gain, len(turn)
    for product in writers:
        _reweigh(graph, product, graph.array(product.input[1]) @ turn)
        frames[product.output[0]].turn_out = frames[product.output[0]].turned = len(turn)
    for attention in graph.of_type("GroupQueryAttention"):
        _rotate_values(graph, attention, frames)
    return frames


def _stream(graph: Graph) -> tuple[onnx.NodeProto, list[onnx.NodeProto], list[onnx.NodeProto]] | None:
    """Follow the residual stream. Returns the embedding, the norms that read it and the products that write to it."""
    lookups = [node for node in graph.of_type("Gather") if node.input[1] == "input_ids"]
    if len(lookups) != 1 or lookups[0].input[0] not in graph.weights:
        return None
    width = graph.array(lookups[0].input[0]).shape[1]
    norms: list[onnx.NodeProto] = []
    writers: list[onnx.NodeProto] = []
    values, seen = [lookups[0].output[0]], {lookups[0].output[0]}
    while values:
        value = values.pop()
        for node in graph.readers(value):
            after, others = node.output[0], []
            if node.op_type in NORMS:
                if not _plain(graph, node, width):
                    return None
                if node not in norms:
                    norms.append(node)
                skipped = node.op_type.startswith("Skip")
                others = list(node.input[:2]) if skipped else []
                after = node.output[3] if skipped and len(node.output) > 3 else ""
            elif node.op_type == "Add":
                others = list(node.input)
            elif not (_picks_rows(node, value) and graph.shapes.get(after, [width])[-1] == width):
                return None
            for other in others:
                if other not in seen:
                    product = graph.maker.get(other)
                    if not graph.is_product(product) or len(graph.readers(other)) > 1:
                        return None
                    seen.add(other)
                    writers.append(product)
            if after and after not in seen:
                seen.add(after)
                values.append(after)
    return (lookups[0], norms, writers) if not seen & graph.outputs else None


def _picks_rows(node: onnx.NodeProto, value: str) -> bool:
    return node.op_type in ("Reshape", "Gather") and node.input[0] == value


def _plain(graph: Graph, norm: onnx.NodeProto, width: int) -> bool:
    """A norm over the whole width with a constant gain, which nothing reads but products with constant weights."""
    gain = norm.input[NORMS[norm.op_type]]
    if gain not in graph.weights or graph.array(gain).shape != (width,):
        return False
    readers = graph.readers(norm.output[0])
    return all(graph.is_product(node) and node.input[0] == norm.output[0] for node in readers)


def _rotate_values(graph: Graph, attention: onnx.NodeProto, frames: Frames) -> None:
    """Turn each head's values and turn back what the product after attention reads; other shapes are left."""
    heads, width = graph.shapes[attention.input[3]][1::2]
    maker = graph.maker.get(attention.input[2] or attention.input[0])
    readers = graph.readers(attention.output[0])
    if not graph.is_product(maker) or len(graph.readers(maker.output[0])) > 1:
        return
    if len(readers) != 1 or not graph.is_product(readers[0]):
        return
    turn = orthogonal(width)
    weight = graph.array(maker.input[1])
    values = weight[:, -heads * width :].reshape(-1, heads, width) @ turn  # packed: queries, keys, values
    _reweigh(graph, maker, np.concatenate([weight[:, : -heads * width], values.reshape(len(weight), -1)], axis=1))
    after = graph.array(readers[0].input[1])
    _reweigh(graph, readers[0], (turn.T @ after.reshape(-1, width, after.shape[1])).reshape(after.shape))
    frames[maker.output[0]].turn_out, frames[maker.output[0]].turned = width, heads * width
    frames[readers[0].output[0]].turn_in = width


def _reweigh(graph: Graph, product: onnx.NodeProto, weight: np.ndarray) -> None:
    """Give a product another matrix, under a name of its own: another product may share the old one."""
    product.input[1] = graph.constant(f"{product.input[1]}.turned.{product.output[0]}", weight)
