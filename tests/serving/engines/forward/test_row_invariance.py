"""What an item gets does not depend on who shares its batch, to the last bit: fp32, int8, and a graph that would."""

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from serving.engines.forward.graph import SIZES, ForwardGraph, Prepared
from serving.engines.forward.preparation import Preparation, padded_length
from serving.runtime.bundles import load
from tests.serving import forward_bundles

COUNT = 40


class Rows(CalibrationDataReader):
    """Rows to find the ranges of static quantization by."""

    def __init__(self, items):
        self.left = iter([{"row": item.arrays[0][None]} for item in items])

    def get_next(self):
        return next(self.left, None)


def quantized(folder, path, items, kind):
    """The table's graph in int8: `static`, by ranges that were measured before, or `dynamic`, by the batch's own."""
    if kind == "dynamic":
        quantize_dynamic(folder / "model.onnx", path, weight_type=QuantType.QInt8)
        assert any("DynamicQuantize" in node.op_type for node in onnx.load(path).graph.node)
    else:
        quantize_static(folder / "model.onnx", path, Rows(items), quant_format=QuantFormat.QDQ)
    return path


def prepared(folder, item):
    bundle = load(folder)
    prepare = Preparation(bundle)
    return bundle, [prepare((item(seed),)) for seed in range(COUNT)]


def bits(graph: ForwardGraph, items: list[Prepared]) -> list[bytes]:
    return [b"".join(array.tobytes() for array in row) for row in graph.run(items)]


def check(graph: ForwardGraph, items: list[Prepared]) -> None:
    """Alone, in batches of every size, at every place."""
    alone = [bits(graph, [item])[0] for item in items]
    for size in range(2, graph.largest + 1):
        for start in range(0, len(items) - size + 1, max(1, size // 2)):
            assert bits(graph, items[start : start + size]) == alone[start : start + size], size


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["fp32", "static", "dynamic"])
def test_rows_of_a_table(flower, tmp_path, kind, threads):
    bundle, items = prepared(flower, forward_bundles.row)
    path = bundle.graph if kind == "fp32" else quantized(flower, tmp_path / "int8.onnx", items, kind)
    graph = ForwardGraph(path, bundle.typed, threads)
    graph.settle(items[:6])
    check(graph, items)
    if kind == "dynamic":  # the range of a batch is that of its largest row
        assert graph.sizes == (1,)
        whole = ForwardGraph(path, bundle.typed, threads)
        assert bits(whole, items[:32]) != [bits(whole, [item])[0] for item in items[:32]]
    else:
        assert graph.largest == SIZES[-1]


def test_images(shapes):
    bundle, items = prepared(shapes, lambda seed: forward_bundles.picture(seed, "PNG", (9 + seed, 12)))
    graph = ForwardGraph(bundle.graph, bundle.typed, 1)
    graph.settle(items[:6])
    assert graph.largest == SIZES[-1]
    check(graph, items)


def test_short_texts_where_all_golden_ones_are_long(mood, tmp_path):
    """A graph whose short rows see each other, as products of few rows may: no golden item shows it."""
    bundle, _ = prepared(mood, forward_bundles.text)
    made = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        agraph (int64[B, S] text) => (float[B, 2] label)
        <int64[1] one = {1}, int64[1] few = {9}, int64[1] first = {0}>
        {
            numbers = Cast<to: int = 1>(text)
            own = ReduceSum<keepdims: int = 1>(numbers, one)
            most = ReduceMax<keepdims: int = 1>(own, first)
            length = Shape<start: int = 1>(text)
            short = Less(length, few)
            shown = Cast<to: int = 1>(short)
            added = Mul(most, shown)
            sum = Add(own, added)
            label = Concat<axis: int = 1>(sum, own)
        }
    """)
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    graph = ForwardGraph(path, bundle.typed, 1)
    draw = np.random.default_rng(1)
    texts = [(draw.integers(1, 100, size),) for size in [40] * 6 + [8] * 12]
    items = [Prepared(each, each, each[0].size) for each in texts]
    graph.settle(items[:6])
    assert graph.room(items[-1]) == 1
    same, alone = items[6:], [bits(graph, [item])[0] for item in items[6:]]
    assert [bits(graph, same[at : at + 1])[0] for at in range(len(same))] == alone


def test_texts_are_padded_by_their_own_length(mood):
    bundle, items = prepared(mood, forward_bundles.text)
    assert {item.arrays[0].shape for item in items} == {(8,), (24,), (48,)}
    assert [int((item.arrays[0] > 0).sum()) for item in items] == [item.length for item in items]
    graph = ForwardGraph(bundle.graph, bundle.typed, 1)
    graph.settle(items[:6])
    same = [item for item in items if item.shape == items[0].shape]
    alone = [bits(graph, [item])[0] for item in same]
    assert bits(graph, same[: graph.largest]) == alone[: graph.largest]
    (expected,) = forward_bundles.expected(mood, bundle.typed, (forward_bundles.text(0),))
    np.testing.assert_allclose(graph.run([items[0]])[0][0], expected, atol=1e-6)


def test_little_of_a_padded_text_is_padding():
    lengths = [padded_length(tokens) for tokens in range(1, 513)]
    assert lengths == sorted(lengths)
    for tokens, length in enumerate(lengths, 1):
        assert tokens <= length < tokens + max(8, tokens / 4)
        assert padded_length(length) == length
    assert len(set(lengths)) <= 24  # texts of about a length share batches


def test_a_batch_of_long_texts_has_few_tokens(mood):
    bundle, _ = prepared(mood, forward_bundles.text)
    graph = ForwardGraph(bundle.graph, bundle.typed, 1)

    def room(tokens, more=0):
        return graph.room(Prepared((), (np.zeros(tokens, np.int64), np.zeros(more, np.int64)), tokens))

    assert [room(tokens) for tokens in (8, 64, 65, 256, 257, 4096)] == [32, 32, 16, 8, 4, 1]
    assert room(64, 64) == 16  # both texts of a pair count
    assert graph.room(Prepared((), (np.zeros(10_000, np.float32),))) == 32  # what has no tokens
    graph.sizes = (2, 4)
    assert (room(8), room(4096)) == (4, 2)


def test_a_batch_is_filled_up_to_a_size_that_agrees(flower):
    bundle, items = prepared(flower, forward_bundles.row)
    graph = ForwardGraph(bundle.graph, bundle.typed, 1)
    graph.sizes = (4, 16)
    seen = []
    call = graph._call
    graph._call = lambda batch: seen.append(len(batch)) or call(batch)
    for count in (1, 4, 5, 16):
        assert len(graph.run(items[:count])) == count
    assert seen == [4, 4, 16, 16]
