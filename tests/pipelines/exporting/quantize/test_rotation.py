"""Rotating the residual stream: the same function, without channels that stand out."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize import frames, probe, rotation
from pipelines.paths import Paths


@pytest.mark.parametrize("width", [1, 3, 16, 96, 576])
def test_the_matrix_is_orthogonal_and_mixes_all_channels(width: int) -> None:
    turn = frames.orthogonal(width).astype(np.float64)
    assert np.abs(turn @ turn.T - np.eye(width)).max() < 1e-5
    assert np.abs(turn).max() <= np.sqrt(2 / width) + 1e-6
    assert (frames.orthogonal(width) == frames.orthogonal(width)).all()


def logits(path: Path, tokens: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": tokens[None], "seqlens_k": np.array([len(tokens) - 1], np.int32),
             "total_sequence_length": np.array(len(tokens), np.int32), "logits_at": np.arange(len(tokens))}  # fmt: skip
    for part in session.get_inputs()[4:]:
        feeds[part.name] = np.zeros((1, part.shape[1], 0, part.shape[3]), np.float32)
    return session.run(["logits"], feeds)[0]


def test_a_rotated_model_computes_the_same_and_its_norms_have_the_size_one(exported: Paths, tmp_path: Path) -> None:
    source, target = exported.bundle / "model.onnx", tmp_path / "rotated.onnx"
    rotation.write(source, target)
    tokens = np.random.default_rng(0).integers(1, 320, 24)
    before, after = logits(source, tokens), logits(target, tokens)
    assert np.abs(before - after).max() < 1e-4 * np.abs(before).max()
    proto = onnx.load(target)
    graph = Graph(proto.graph)
    products = {node.input[0] for node in graph.of_type("MatMul")}
    norms = [node.output[0] for kind in rotation.NORMS for node in graph.of_type(kind) if node.output[0] in products]
    assert len(norms) == 2 * 2 + 1  # two layers, and the last norm
    for _, array in probe.values(proto, norms, [tokens]):
        assert np.allclose(np.square(array).mean(-1), 1, atol=0.01)
    original = {node.input[1] for node in Graph(onnx.load(source).graph).of_type("MatMul")}
    assert not original & set(graph.weights)  # every matrix was turned, or is that of another


def test_a_stream_that_something_else_reads_is_left_alone(exported: Paths) -> None:
    for kind in ("Tanh", "Softmax"):
        proto = onnx.load(exported.bundle / "model.onnx")
        embedded = next(node.output[0] for node in proto.graph.node if node.op_type == "Gather")
        proto.graph.node.append(helper.make_node(kind, [embedded], ["other"]))
        proto.graph.output.append(onnx.ValueInfoProto(name="other"))
        before = proto.SerializeToString(deterministic=True)
        assert not rotation.rotate(Graph(proto.graph))
        assert proto.SerializeToString(deterministic=True) == before
