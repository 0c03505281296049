"""The kernels of adapters of each row's own against float64 and their functions in ONNX Runtime's operators."""

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pipelines.exporting.adapters import bank
from tests.serving.native import single_operator
from tests.serving.native.test_products import OF_LEVELS, draw_levels

pytestmark = single_operator.needs_kernels
OUT = {"out": "float32"}
CASES = [(16, (16,), 8), (64, (48, 16, 32), 8), (576, (576, 192, 192), 16), (1536, (576,), 8), (2064, (32, 32), 8)]
"""Inputs, the outputs of each layer side by side, rank; the last with more inputs than the kernel has room for."""
ADAPTERS = 4
Feeds = dict[str, np.ndarray]


def draw(
    rows: int, width: int, outputs: Sequence[int], rank: int, ids: Sequence[int]
) -> tuple[Feeds, Feeds, np.ndarray]:
    """Inputs of LowRank, of PackedMatMulLowRank, and what float64 makes of the adapters, [batch, rows, N]."""
    generator, total = np.random.default_rng(width + rows), sum(outputs)
    parts = [
        (generator.normal(size=(ADAPTERS, width, rank)), generator.normal(size=(ADAPTERS, rank, n))) for n in outputs
    ]
    parts = [tuple(each.astype(ml_dtypes.bfloat16) for each in pair) for pair in parts]
    place = bank.Place(at=7, inputs=width, outputs=tuple(outputs), rank=rank)
    stored = np.zeros((ADAPTERS + 1, place.end + 3), ml_dtypes.bfloat16)
    for number in range(ADAPTERS):
        place.put(stored[number + 1], [(a[number].astype(np.float32), b[number].astype(np.float32)) for a, b in parts])
    feeds, y = draw_levels(len(ids) * rows, width, total)
    levels = feeds["levels"].reshape(len(ids), rows, width)
    more = {"layer_of": place.layer_of, "bank": stored, "adapter": np.array(ids, np.int32)}
    x = ((levels.astype(np.float32) - 128) * np.float32(feeds["scale"])).astype(np.float32)
    added = np.zeros((len(ids), rows, total))
    for row, number in enumerate(ids):
        if number:
            each = [x[row].astype(np.float64) @ a[number - 1].astype(np.float64) @ b[number - 1].astype(np.float64)
                    for a, b in parts]  # fmt: skip
            added[row] = np.concatenate(each, axis=-1)
    y = y.reshape(len(ids), rows, total)
    return {"y": y.astype(np.float32), "x": x, **more}, {**feeds, "levels": levels, **more}, added


def attributes(width: int, outputs: Sequence[int], rank: int) -> dict[str, Any]:
    """Of a node."""
    return {"at": 7, "rank": rank, "layers": len(outputs)}


def both(feeds: tuple[Feeds, Feeds], kernels: bool, case: tuple[int, Sequence[int], int]) -> list[np.ndarray]:
    """What the two operators give."""
    return [
        single_operator.run("LowRank", feeds[0], OUT, kernels, constants=("layer_of",), **attributes(*case))[0],
        single_operator.run("PackedMatMulLowRank", feeds[1], OUT, kernels, constants=(*OF_LEVELS, "layer_of"),
                            **attributes(*case))[0],
    ]  # fmt: skip


def check(rows: int, case: tuple[int, Sequence[int], int], ids: Sequence[int]) -> None:
    """Kernels against float64 and against the functions; rows without an adapter to the last bit."""
    *feeds, added = draw(rows, *case, ids)
    wanted = feeds[0]["y"].astype(np.float64) + added
    plain = single_operator.run("PackedMatMul", {name: feeds[1][name] for name in ("levels", *OF_LEVELS)}, OUT, True)[0]
    none = np.array(ids) == 0
    for kernels in (True, False):
        for found, without in zip(both((feeds[0], feeds[1]), kernels, case), (feeds[0]["y"], plain), strict=True):
            assert np.abs(found - wanted).max() < 3e-6 * np.abs(wanted).max()
            assert (found[none] == without[none]).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_adapters_are_added(case: tuple[int, Sequence[int], int]) -> None:
    for rows, ids in ((1, [2]), (1, [0, 3, 1, 0, 3, 3, 4, 2, 3]), (5, [1]), (70, [4]), (2, [0, 1, 0, 2])):
        check(rows, case, ids)


def test_a_row_gives_the_same_bits_alone_and_among_any_others() -> None:
    case, ids = CASES[2], [1, 0, 2, 1, 4, 3, 0, 1, 1, 2, 1, 1]
    low, product, _ = draw(1, *case, ids)
    together = both((low, product), True, case)
    for row, number in enumerate(ids):
        alone = [
            {name: x[row : row + 1] if name in ("y", "x", "levels", "adapter") else x for name, x in each.items()}
            for each in (low, product)
        ]
        for found, among in zip(both((alone[0], alone[1]), True, case), together, strict=True):
            assert (found == among[row : row + 1]).all(), (row, number)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adapter", np.array([1, 5], np.int32)),
        ("adapter", np.array([1, -1], np.int32)),
        ("adapter", np.array([1, 1, 1], np.int32)),
        ("bank", np.zeros((5, 64), ml_dtypes.bfloat16)),
        ("layer_of", np.array([0, 0, 0, 3, 2, 2], np.int32)),
        ("layer_of", np.zeros(5, np.int32)),
    ],
    ids=str,
)
def test_bad_inputs_are_refused(name: str, value: np.ndarray) -> None:
    case = CASES[1]
    low, product, _ = draw(2, *case, [1, 2])
    for kind, feeds in (("LowRank", low), ("PackedMatMulLowRank", product)):
        with pytest.raises(Exception, match=r"does not take|do not go together"):
            single_operator.run(kind, {**feeds, name: value}, OUT, True, **attributes(*case))
