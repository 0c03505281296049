"""int8 of graphs over tokens: close to the float graph, and no row knows its neighbours or its padding."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import nn

from data.signature import LabelsOutput, Signature, TextInput
from models.common.entries import TextEntry
from pipelines.exporting import graphs
from pipelines.exporting.quantize import generic, rows
from serving.native import register
from tests.models.encoder.small_encoders import STYLES, ragged, small

SIGNATURE = Signature(
    task="text-classification",
    inputs=(TextInput(name="text", shape=(-1,), length=18),),
    outputs=(LabelsOutput(name="label", shape=(3,), labels=("a", "b", "c")),),
)


def session(path: Path, native: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if native and not register(options):
        pytest.skip("the kernels are not built")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=STYLES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    network = nn.Sequential(TextEntry([1], [2]), small(request.param)).eval()
    plain, quantized = folder / "model.onnx", folder / "model.int8.onnx"
    graphs.export(network, SIGNATURE, {"text": ragged(4, 5, 3).numpy()}, plain)
    generic.int8(plain, quantized, [])
    return plain, quantized


def test_all_products_of_tokens_are_in_8_bits_and_the_numbers_close(exported: tuple[Path, Path]) -> None:
    plain, quantized = exported
    assert rows.takes(onnx.load(plain))
    kinds = [node.op_type for node in onnx.load(quantized).graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 12  # of two layers
    tokens = {"text": ragged(3, 12, 1, 7, 16).numpy()}
    (expected,), (given,) = session(plain).run(None, tokens), session(quantized).run(None, tokens)
    assert 0 < np.abs(expected - given).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("native", [False, True])
def test_a_row_has_the_same_bits_among_any_neighbours(exported: tuple[Path, Path], native: bool) -> None:
    run, tokens = session(exported[1], native), ragged(7, 12, 3, 9, 12, 5).numpy()
    (together,) = run.run(None, {"text": tokens})
    for at in range(0, 6, 2):
        (pair,) = run.run(None, {"text": tokens[at : at + 2]})
        np.testing.assert_array_equal(pair, together[at : at + 2])
    loud = tokens.copy()
    loud[1:] = loud[1:, ::-1] + 20 * (loud[1:, ::-1] != 0)
    (among,) = run.run(None, {"text": loud % 61})
    np.testing.assert_array_equal(among[0], together[0])


def test_padding_changes_less_than_rounding_does(exported: tuple[Path, Path]) -> None:
    run, tokens = session(exported[1]), ragged(7, 7).numpy()
    (short,) = run.run(None, {"text": tokens})
    (long,) = run.run(None, {"text": np.pad(tokens, ((0, 0), (0, 9)))})
    np.testing.assert_allclose(long, short, atol=1e-5)


def test_equal_graphs_give_equal_bytes(exported: tuple[Path, Path], tmp_path: Path) -> None:
    generic.int8(exported[0], tmp_path / "again.onnx", [])
    assert (tmp_path / "again.onnx").read_bytes() == exported[1].read_bytes()
