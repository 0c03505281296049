"""The graph: prefill in chunks and decode, over one shared cache, must give what one call without a cache gives."""

import numpy as np
import pytest
import tiny_bundle

from data.errors import MetrolineError
from serving import graph as graphs
from serving.bundle import Bundle
from serving.graph import Graph

TOKENS = [int(token) for token in np.random.default_rng(1).integers(0, 263, 50)]


@pytest.fixture(scope="module")
def expected(bundle):
    return tiny_bundle.full_logits(bundle, TOKENS, 64)


@pytest.mark.parametrize("chunk", [256, 50, 16, 7, 1])
@pytest.mark.parametrize("prompt", [1, 20, 50])
def test_prefill_and_decode_equal_one_call(bundle, expected, monkeypatch, chunk, prompt):
    monkeypatch.setattr(graphs, "CHUNK", chunk)
    graph = Graph(Bundle.load(bundle, "fp32"), threads=1)
    for _ in range(2):  # what an earlier sequence left in the cache does not matter
        rows = [row.copy() for logits in graph.prefill(TOKENS[:prompt]) for row in logits]
        rows += [graph.decode(token, prompt + i).copy() for i, token in enumerate(TOKENS[prompt:])]
        assert np.abs(np.array(rows) - expected).max() < 2e-5


def test_the_cache_is_updated_in_place(bundle):
    graph = Graph(Bundle.load(bundle, "fp32"), threads=1)
    list(graph.prefill(TOKENS[:10]))
    before = {name: array.copy() for name, array in graph._cache.items()}
    graph.decode(TOKENS[10], 10)
    for name, array in graph._cache.items():
        changed = np.unique(np.nonzero(array != before[name])[2])
        assert changed.tolist() == [10], name


def test_int8_is_close_and_repeatable(bundle, expected):
    graph = Graph(Bundle.load(bundle, "int8"), threads=1)
    first, second = (np.array([row for chunk in graph.prefill(TOKENS) for row in chunk.copy()]) for _ in range(2))
    assert (first == second).all()
    assert 0 < np.abs(first - expected).mean() < 0.1


def test_the_whole_context_fits(bundle):
    graph = Graph(Bundle.load(bundle, "fp32"), threads=1)
    assert sum(len(chunk) for chunk in graph.prefill([1] * 63)) == 63
    assert np.isfinite(graph.decode(1, 63)).all()


def test_small_graphs_get_one_thread(bundle, monkeypatch):
    loaded = Bundle.load(bundle)
    assert graphs.threads_for(loaded, 8) == 1
    monkeypatch.setattr(graphs, "SMALL", 1)
    assert graphs.threads_for(loaded, 8) == 8


def test_a_file_that_is_no_graph(bundle, tmp_path):
    import dataclasses

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    broken = dataclasses.replace(Bundle.load(bundle, "fp32"), path=tmp_path)
    with pytest.raises(MetrolineError, match="cannot load it"):
        Graph(broken, threads=1)


def test_a_graph_of_another_shape(bundle):
    import dataclasses

    with pytest.raises(MetrolineError, match=r"past_key_values\.2\.key"):
        Graph(dataclasses.replace(Bundle.load(bundle, "fp32"), layers=3), threads=1)
