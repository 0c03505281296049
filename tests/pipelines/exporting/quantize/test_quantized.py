"""The quantized forms of a trained model: what neighbours in a batch, the cache and the number of new tokens change."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.decoder.cached import CachedDecoder
from models.decoder.huggingface import load
from pipelines.exporting.onnx import operators
from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize import gptq, pointwise, quality, ranges
from pipelines.exporting.quantize import int4 as onnx_int4
from pipelines.exporting.quantize import int8 as onnx_int8
from pipelines.paths import Paths
from pipelines.tasks.language_modelling.held_out import HeldOut

CAPACITY, STREAMS, STEPS = 32, 16, 5


class Cached:
    """A graph over caches of CAPACITY tokens, which each call returns."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 2, 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [part.name for part in self.session.get_inputs()][4:]

    def empty(self, batch: int) -> list[np.ndarray]:
        return [np.zeros((batch, 2, CAPACITY, 16), np.int8) for _ in self.names]

    def __call__(self, ids: np.ndarray, lengths: list[int], cache: list[np.ndarray]) -> tuple[np.ndarray, list]:
        feeds = {
            "input_ids": ids,
            "seqlens_k": np.array(lengths, np.int32) - 1,
            "total_sequence_length": np.array(max(lengths), np.int32),
            "logits_at": np.arange(ids.size),
            **dict(zip(self.names, cache, strict=True)),
        }
        logits, *presents = self.session.run(None, feeds)
        return logits, presents


@pytest.fixture(scope="module")
def forms(exported: Paths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quantized")
    source = exported.bundle / "model.onnx"
    model = CachedDecoder(load(exported.checkpoint))
    windows = list(quality.calibration(model, 512, HeldOut(exported.prepared)))
    largest, second = ranges.measure(source, windows)
    for name in ("int4", "again"):
        onnx_int4.export(source, folder / f"{name}.onnx", largest, second)
    return {
        "int8": exported.bundle / "model.int8.onnx",
        **{name: folder / f"{name}.onnx" for name in ("int4", "again")},
    }


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_row_alone_is_equal_to_the_last_bit_to_the_row_among_fifteen_others(
    forms: dict[str, Path], form: str
) -> None:
    run = Cached(forms[form])
    generator = np.random.default_rng(0)
    prompts = [generator.integers(1, 320, size) for size in generator.integers(1, 20, STREAMS)]
    caches, alone = [], []
    for prompt in prompts:  # prompts always go in alone
        logits, cache = run(prompt[None], [len(prompt)], run.empty(1))
        caches.append(cache)
        alone.append([logits[-1]])
    together = [np.concatenate(parts) for parts in zip(*caches, strict=True)]
    for step in range(STEPS):
        tokens = [int(rows[-1].argmax()) for rows in alone]
        lengths = [len(prompt) + step + 1 for prompt in prompts]
        batch, together = run(np.array(tokens)[:, None], lengths, together)
        for row, token in enumerate(tokens):
            single, caches[row] = run(np.array([[token]]), [lengths[row]], caches[row])
            alone[row].append(single[0])
            assert (single[0] == batch[row]).all(), (step, row)


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_where_a_prompt_is_cut_changes_no_bit(forms: dict[str, Path], form: str) -> None:
    run = Cached(forms[form])
    tokens = np.random.default_rng(2).integers(1, 320, 24)
    whole, cache = run(tokens[None], [24], run.empty(1))
    for cuts in ((0, 8, 24), (0, 2, 7, 12, 24)):
        rows, parts = [], run.empty(1)
        for start, end in pairwise(cuts):
            logits, parts = run(tokens[None, start:end], [end], parts)
            rows.append(logits)
        assert (np.concatenate(rows) == whole).all()
        assert all((ours == theirs).all() for ours, theirs in zip(parts, cache, strict=True))


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_several_tokens_at_once_are_close_to_one_by_one(forms: dict[str, Path], form: str) -> None:
    """The two branches of the attention, over one cache."""
    run = Cached(forms[form])
    tokens = np.random.default_rng(1).integers(1, 320, 20)
    whole, cache = run(tokens[None], [20], run.empty(1))
    first, steps = run(tokens[None, :8], [8], run.empty(1))
    second, steps = run(tokens[None, 8:15], [15], steps)
    rows = [first, second]
    for position in range(15, 20):
        logits, steps = run(tokens[None, position : position + 1], [position + 1], steps)
        rows.append(logits)
    assert np.abs(np.concatenate(rows) - whole).max() < 0.2 < np.abs(whole).max() / 20
    for ours, theirs in zip(cache, steps, strict=True):
        assert np.abs(ours[:, :, :20].astype(int) - theirs[:, :, :20]).max() <= 3
        assert not ours[:, :, 20:].any()
        assert np.abs(ours).max() > 60  # the scales fit


def test_int4_is_made_the_same_again_and_is_smaller(forms: dict[str, Path], exported: Paths) -> None:
    assert forms["int4"].read_bytes() == forms["again"].read_bytes()
    kinds = [node.op_type for node in onnx.load(forms["int4"]).graph.node]
    assert kinds.count("PackedMatMulNBits") == 13  # of 15: gate and up are one
    assert forms["int4"].stat().st_size < (exported.bundle / "model.onnx").stat().st_size / 2


def test_int4_keeps_eight_bits_in_the_first_and_last_layers_and_where_inputs_have_outliers(
    exported: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported.bundle / "model.onnx"
    graph = Graph(onnx.load(source).graph)
    inputs = [node.input[0] for node in graph.products()]  # in their order: the last but the head's is a layer's last
    ranges = {name: np.ones(1) for name in inputs}
    presents = {name: np.ones((2, 16)) for name in graph.outputs if name.startswith("present.")}
    moments = {node.input[0]: np.eye(len(graph.array(node.input[1]))) for node in graph.products()}

    def eights(largest: dict[str, np.ndarray]) -> int:
        onnx_int4.export(source, tmp_path / "model.onnx", largest, moments)
        nodes = [node for node in onnx.load(tmp_path / "model.onnx").graph.node if node.op_type == "PackedMatMulNBits"]
        return sum(part.i == 8 for node in nodes for part in node.attribute if part.name == "bits")

    assert eights({**ranges, **presents}) == 2 * 3  # what attention reads
    assert eights({**ranges, **presents, inputs[-2]: np.array([1.0, 1.0, 101.0])}) == 2 * 3 + 1
    monkeypatch.setattr(onnx_int4, "EDGE", 0.5)
    assert eights({**ranges, **presents}) == 12  # all but the head


def product(weight: np.ndarray) -> Graph:
    """y = x · weight."""
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product",
        [value("x", TensorProto.FLOAT, ["n", len(weight)])], [value("y", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    return Graph(made)


def compute(graph: Graph, x: np.ndarray) -> np.ndarray:
    graph.finish()
    sets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph.proto, opset_imports=sets, ir_version=11)
    operators.attach(proto, pointwise.functions(23))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_rows_of_noughts_give_noughts() -> None:
    """A scale of 0 must not become NaN."""
    weight = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    graph = product(weight)
    onnx_int8.quantize_products(graph, {}, {})
    x = np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32)
    x[1] = 0
    y = compute(graph, x)
    assert (y[1] == 0).all()
    assert np.abs(y - x @ weight).max() < 0.2


def test_an_input_with_outliers_keeps_its_small_channels() -> None:
    generator = np.random.default_rng(0)
    weight, x = (generator.normal(size=size).astype(np.float32) for size in ((576, 8), (4, 576)))
    x[0, 3], weight[3] = 3000, 0  # one scale for all of row 0 would round all else of it to noughts
    errors = {}
    for name, largest in (("known", np.abs(x).max(0)), ("unknown", np.ones(576, np.float32))):
        graph = product(weight)
        onnx_int8.quantize(graph, {"x": largest}, {})
        errors[name] = np.abs(compute(graph, x) - x @ weight)[0].max()
    assert errors["known"] < 0.4 * errors["unknown"]


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_with_compensation_loses_less(bits: int) -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(64, 64)) * np.geomspace(1, 0.05, 64)
    inputs = (generator.normal(size=(512, 64)) @ mixing.T).astype(np.float32)
    weight = generator.normal(size=(64, 24)).astype(np.float32)
    grid = gptq.Grid.fit(weight, 4, 32) if bits == 4 else gptq.Grid.symmetric(weight)
    plain, compensated = grid.levels(weight), gptq.compensate(weight, grid, inputs.T @ inputs)
    errors = [np.square(inputs @ (grid.values(levels) - weight)).mean() for levels in (plain, compensated)]
    assert errors[1] < 0.6 * errors[0]
    assert compensated.max() <= 2**bits - 1


def test_a_searched_grid_loses_less_where_it_matters() -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(80, 24)).astype(np.float32)  # two and a half blocks
    weight[::16] *= 4
    sizes = np.ones(80)
    sizes[::16] = 0.01  # the large weights hardly count
    errors = []
    for grid in (gptq.Grid.fit(weight, 4, 32), gptq.Grid.search(weight, 4, 32, sizes)):
        assert grid.levels(weight).max() <= 15
        assert (grid.zeros == np.rint(grid.zeros)).all()
        assert 0 <= grid.zeros.min() <= grid.zeros.max() <= 15
        errors.append((np.square(grid.values(grid.levels(weight)) - weight) * sizes[:, None]).sum(0))
    assert errors[1].sum() < 0.8 * errors[0].sum()


def test_a_searched_grid_keeps_the_weights_of_inputs_that_the_text_never_uses() -> None:
    weight = np.random.default_rng(0).normal(size=(64, 24)).astype(np.float32)
    sizes = np.repeat([1.0, 0.0], 32)  # nothing is known about the second block
    grids = gptq.Grid.fit(weight, 4, 32), gptq.Grid.search(weight, 4, 32, sizes)
    errors = [np.square(grid.values(grid.levels(weight)) - weight)[32:].mean() for grid in grids]
    assert errors[1] <= errors[0]
