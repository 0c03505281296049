"""The graph: prompts in chunks and steps of a batch, over one shared cache, must give what one uncached call gives."""

import weakref

import numpy as np
import pytest

from base.errors import MetrolineError
from serving.engines import threads
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from tests.serving import tiny_bundle

TOKENS = np.random.default_rng(1).integers(0, 263, 50)


@pytest.fixture(scope="module")
def expected(bundle):
    return tiny_bundle.full_logits(bundle, TOKENS.tolist(), 64)


def load(bundle, precision: str = "fp32", slots: int = 3) -> Graph:
    return Graph(DecoderBundle.load(bundle, precision), 1, slots)


def rows_of(graph: Graph, slot: int, prompt: int, chunk: int) -> np.ndarray:
    """Logits of all TOKENS: the first `prompt` of them in chunks, the others one by one."""
    rows = []
    for start in range(0, prompt, chunk):
        new = TOKENS[start : min(start + chunk, prompt)]
        rows += list(graph.extend(slot, new, start, np.arange(len(new))).copy())
    for position in range(prompt, len(TOKENS)):
        rows.append(graph.decode(slot, [int(TOKENS[position])], [position])[0].copy())
    return np.array(rows)


@pytest.mark.parametrize("chunk", [256, 50, 16, 7, 1])
@pytest.mark.parametrize("prompt", [1, 20, 50])
def test_prefill_and_decode_equal_one_call(bundle, expected, chunk, prompt):
    graph = load(bundle)
    for slot in (1, 2, 1):  # what an earlier sequence left in the cache does not matter
        assert np.abs(rows_of(graph, slot, prompt, chunk) - expected).max() < 2e-5


def test_sequences_of_different_lengths_in_one_step(bundle, expected):
    graph = load(bundle, slots=6)
    lengths = {1: 40, 2: 1, 3: 17, 4: 49}
    for slot, length in lengths.items():
        graph.extend(slot, TOKENS[:length], 0, np.arange(0))
    logits = graph.decode(1, [int(TOKENS[length]) for length in lengths.values()], list(lengths.values()))
    for row, length in zip(logits, lengths.values(), strict=True):
        assert np.abs(row - expected[length]).max() < 2e-5


def test_only_the_logits_that_are_asked_for(bundle, expected):
    graph = load(bundle)
    assert graph.extend(0, TOKENS[:30], 0, np.array([], np.int64)).shape == (0, 263)
    logits = graph.extend(0, TOKENS[30:], 30, np.array([19, 3]))
    assert np.abs(logits - expected[[49, 33]]).max() < 2e-5


def test_many_rows_of_logits_are_not_kept(bundle):
    graph = load(bundle)
    logits = graph.extend(0, TOKENS, 0, np.arange(len(TOKENS)))
    memory = weakref.ref(logits.base)
    del logits
    assert memory() is None


def test_the_cache_is_updated_in_place(bundle):
    graph = load(bundle)
    graph.extend(1, TOKENS[:10], 0, np.arange(0))
    before = {name: array.copy() for name, array in graph.cache.arrays.items()}
    graph.decode(1, [int(TOKENS[10])], [10])
    for name, array in graph.cache.arrays.items():
        slots, _, positions, _ = np.nonzero(array != before[name])
        assert (set(slots), set(positions)) == ({1}, {10}), name


def test_a_moved_sequence_goes_on(bundle, expected):
    graph = load(bundle)
    graph.extend(2, TOKENS[:30], 0, np.arange(0))
    graph.cache.copy(2, 0, 30)
    graph.cache.release(2)
    assert np.abs(graph.decode(0, [int(TOKENS[30])], [30])[0] - expected[30]).max() < 2e-5


def test_int8_is_close_and_repeatable(bundle, expected):
    first, second = (rows_of(load(bundle, "int8"), 0, 50, 256) for _ in range(2))
    assert (first == second).all()
    assert 0 < np.abs(first - expected).mean() < 0.1


def test_the_whole_context_fits(bundle):
    graph = load(bundle)
    graph.warm_up()
    assert graph.extend(0, np.ones(63, np.int64), 0, np.arange(63)).shape == (63, 263)
    assert np.isfinite(graph.decode(0, [1], [63])).all()


def test_small_graphs_get_one_thread(bundle, monkeypatch):
    loaded = DecoderBundle.load(bundle)
    assert threads.threads_for(loaded, 8) == 1
    monkeypatch.setattr(threads, "SMALL", 1)
    assert threads.threads_for(loaded, 8) == 8


def test_a_file_that_is_no_graph(bundle, tmp_path):
    import dataclasses

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    broken = dataclasses.replace(DecoderBundle.load(bundle, "fp32"), path=tmp_path)
    with pytest.raises(MetrolineError, match="cannot load it"):
        Graph(broken, threads=1)


def test_a_graph_of_another_shape(bundle):
    import dataclasses

    with pytest.raises(MetrolineError, match=r"past_key_values\.2\.key"):
        Graph(dataclasses.replace(DecoderBundle.load(bundle, "fp32"), layers=3), threads=1)


def test_a_cache_of_a_type_that_is_not_known(bundle, tmp_path):
    import dataclasses

    import onnx

    model = onnx.load(bundle / "model.onnx")
    for value in model.graph.input:
        if value.name.startswith("past"):
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for value in [*model.graph.output]:
        if value.name.startswith("present"):
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(MetrolineError, match=r"double|cannot load it"):
        Graph(dataclasses.replace(DecoderBundle.load(bundle, "fp32"), path=tmp_path), threads=1)
