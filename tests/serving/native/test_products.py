"""The kernels of products with packed weights against float64 and their functions in ONNX Runtime's operators."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pipelines.exporting.quantize import packed
from tests.serving.native import single_operator

pytestmark = single_operator.needs_kernels
OUT = {"out": "float32"}
OF_LEVELS, OF_BLOCKS = ("weights", "scale", "columns", "offsets"), ("weights", "scales", "zeros")
BLOCKS = [(4, 32), (8, 32), (8, 64)]
ROWS = [1, 2, 3, 6, 7, 16, 17, 38]
SHAPES = [(4, 16), (64, 48), (100, 80), (576, 112), (192, 1040)]
"""K and N: widths that the matrix unit takes and such that it does not, outputs that fill a part and that do not."""

Feeds = dict[str, np.ndarray]


def draw_levels(rows: int, width: int, outputs: int) -> tuple[Feeds, np.ndarray]:
    """Inputs, and what float64 makes of them."""
    generator = np.random.default_rng(rows + width)
    levels = generator.integers(0, 256, (1, rows, width), dtype=np.uint8)
    matrix = generator.integers(-128, 128, (width, outputs), dtype=np.int8)
    columns = generator.uniform(1e-4, 1e-2, outputs).astype(np.float32)
    feeds = {"levels": levels, "weights": packed.columns(matrix), "scale": np.array(0.03, np.float32),
             "columns": columns, "offsets": packed.offsets(matrix)}  # fmt: skip
    return feeds, (levels.astype(np.float64) - 128) @ matrix * columns * 0.03


def draw_blocks(rows: int, width: int, outputs: int, bits: int, block: int) -> tuple[Feeds, dict[str, Any], np.ndarray]:
    """Inputs, attributes, and what float64 makes of rows that are quantized as the operator says."""
    generator, blocks = np.random.default_rng(rows + width), width // block
    x = generator.normal(size=(1, rows, width)).astype(np.float32) * generator.uniform(0, 9, (1, rows, 1)).astype("f")
    x[0, 0, block : 2 * block] = 0
    levels = generator.integers(0, 2**bits, (outputs, blocks, block), dtype=np.uint8)
    zeros = generator.integers(0, 2**bits, (outputs, blocks), dtype=np.uint8)
    scales = generator.uniform(1e-3, 1e-2, (outputs, blocks)).astype(ml_dtypes.bfloat16)
    stored, points = levels, zeros
    if bits == 4:
        stored = levels[..., 0::2] | levels[..., 1::2] << 4
        points = np.concatenate([zeros, np.zeros((outputs, blocks % 2), np.uint8)], axis=1)
        points = points[:, 0::2] | points[:, 1::2] << 4
    feeds = {"x": x, "weights": packed.blocks(stored), "scales": packed.of_blocks(scales),
             "zeros": packed.of_blocks(points)}  # fmt: skip
    parts = x.reshape(rows, blocks, block)
    largest = np.abs(parts).max(-1, keepdims=True)
    rounded = np.rint(parts * np.divide(127, largest, where=largest > 0, out=np.zeros_like(largest)))
    values = (rounded * (largest.astype(np.float64) / 127)).reshape(rows, width)
    weights = (levels.astype(np.float64) - zeros[..., None]) * scales[..., None].astype(np.float64)
    attributes = {"K": width, "N": outputs, "bits": bits, "block_size": block}
    return feeds, attributes, values @ weights.reshape(outputs, width).T


def check_levels(rows: int, width: int, outputs: int) -> None:
    """The kernel against float64, and against the function to the last bit."""
    feeds, wanted = draw_levels(rows, width, outputs)
    ours, theirs = (single_operator.run("PackedMatMul", feeds, OUT, kernels, constants=OF_LEVELS)[0]
                    for kernels in (True, False))  # fmt: skip
    assert ours == pytest.approx(wanted, rel=1e-6)
    assert (ours == theirs).all()


def check_blocks(rows: int, width: int, outputs: int, bits: int, block: int) -> None:
    """The kernel against float64, and against the function."""
    feeds, attributes, wanted = draw_blocks(rows, width, outputs, bits, block)
    ours, theirs = (
        single_operator.run("PackedMatMulNBits", feeds, OUT, kernels, constants=OF_BLOCKS, **attributes)[0][0]
        for kernels in (True, False)
    )
    assert np.abs(ours - wanted).max() < 2e-6 * np.abs(wanted).max()
    assert np.abs(ours - theirs).max() < 1e-2 * np.abs(wanted).max()  # a tie of a row's level, rounded either way


def check_rows_alone() -> None:
    """A row gives the same bits alone and among others."""
    feeds, _ = draw_levels(40, 576, 48)
    cases: list[tuple[str, Feeds, tuple[str, ...], dict[str, Any]]] = [("PackedMatMul", feeds, OF_LEVELS, {})]
    for bits, block in BLOCKS:
        feeds, attributes, _ = draw_blocks(40, 576, 48, bits, block)
        cases.append(("PackedMatMulNBits", feeds, OF_BLOCKS, attributes))
    for kind, feeds, constants, attributes in cases:
        opened = single_operator.session(kind, feeds, OUT, True, 2, constants, **attributes)
        [name] = set(feeds) - set(constants)
        (together,) = opened.run(None, {name: feeds[name]})
        for first, last in ((0, 1), (5, 6), (39, 40), (3, 19), (1, 7), (20, 23)):
            (some,) = opened.run(None, {name: feeds[name][:, first:last]})
            assert (some == together[:, first:last]).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", ROWS)
def test_levels(rows: int, shape: tuple[int, int]) -> None:
    check_levels(rows, *shape)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("bits", "block"), [*BLOCKS, (8, 16), (8, 256)])
def test_blocks(rows: int, bits: int, block: int) -> None:
    for blocks, outputs in ((1, 16), (3, 80), (18, 1040)):
        check_blocks(rows, blocks * block, outputs, bits, block)


def test_a_row_gives_the_same_bits_alone_and_among_others() -> None:
    check_rows_alone()


def test_the_largest_sums_are_whole() -> None:
    """Where two products of bytes do not fit 16 bits."""
    matrix = np.full((512, 16), -128, np.int8)
    feeds = {"levels": np.full((9, 512), 255, np.uint8), "weights": packed.columns(matrix), "scale": np.ones(1, "f"),
             "columns": np.ones(16, np.float32), "offsets": packed.offsets(matrix)}  # fmt: skip
    (out,) = single_operator.run("PackedMatMul", feeds, OUT, True)
    assert (out == 512 * 127 * -128).all()


def test_no_rows_are_no_work() -> None:
    feeds, _ = draw_levels(0, 64, 48)
    assert single_operator.run("PackedMatMul", feeds, OUT, True)[0].shape == (1, 0, 48)
    feeds, attributes, _ = draw_blocks(1, 64, 48, 4, 32)
    opened = single_operator.session("PackedMatMulNBits", feeds, OUT, True, 2, OF_BLOCKS, **attributes)
    assert opened.run(None, {"x": np.zeros((2, 0, 64), np.float32)})[0].shape == (2, 0, 48)


def test_what_is_no_number_spoils_its_own_row_only() -> None:
    feeds, attributes, _ = draw_blocks(5, 64, 48, 4, 32)
    opened = single_operator.session("PackedMatMulNBits", feeds, OUT, True, 2, OF_BLOCKS, **attributes)
    (wanted,) = opened.run(None, {"x": feeds["x"]})
    feeds["x"][0, 2, ::3], feeds["x"][0, 2, 1::3] = np.nan, np.inf
    (found,) = opened.run(None, {"x": feeds["x"]})
    assert (np.delete(found, 2, 1) == np.delete(wanted, 2, 1)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("levels", np.zeros((1, 2, 60), np.uint8)),
        ("levels", np.zeros((1, 2, 0), np.uint8)),
        ("weights", np.zeros((3, 16, 4, 16), np.int8)),
        ("weights", np.zeros((2, 16, 16, 4), np.int8)),
        ("weights", np.zeros((3, 0, 16, 4), np.int8)),
        ("scale", np.ones(2, np.float32)),
        ("columns", np.ones(47, np.float32)),
        ("offsets", np.ones(49, np.int32)),
    ],
    ids=str,
)
def test_bad_sizes_are_refused(name: str, value: np.ndarray) -> None:
    feeds, _ = draw_levels(2, 64, 48)
    feeds["scale"] = np.ones(1, np.float32)
    opened = single_operator.session("PackedMatMul", feeds, OUT, True)
    with pytest.raises(Exception, match="sizes that it does not take"):
        opened.run(None, {**feeds, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", np.zeros((1, 2, 60), np.float32)),
        ("x", np.zeros((1, 2, 0), np.float32)),
        ("weights", np.zeros((3, 3, 4, 4, 16), np.uint8)),
        ("weights", np.zeros((3, 3, 8, 16, 4), np.uint8)),
        ("weights", np.zeros((3, 0, 4, 16, 4), np.uint8)),
        ("scales", np.zeros((3, 2, 16), ml_dtypes.bfloat16)),
        ("zeros", np.zeros((3, 3, 16), np.uint8)),
    ],
    ids=str,
)
def test_bad_sizes_of_blocks_are_refused(name: str, value: np.ndarray) -> None:
    feeds, attributes, _ = draw_blocks(2, 96, 48, 4, 32)
    with pytest.raises(Exception, match="sizes that it does not take"):
        single_operator.run("PackedMatMulNBits", {**feeds, name: value}, OUT, True, constants=OF_BLOCKS, **attributes)


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 64), (8, 0), (8, -32), (8, 24), (8, 512), (2, 32), (3, 32)])
def test_bad_blocks_are_refused_when_the_graph_is_loaded(bits: int, block: int) -> None:
    feeds, attributes, _ = draw_blocks(2, 96, 48, 4, 32)
    attributes |= {"bits": bits, "block_size": block}
    with pytest.raises(Exception, match="bits or a block that it does not take"):
        single_operator.load("PackedMatMulNBits", feeds, OUT, [], True, 1, OF_BLOCKS, **attributes)
