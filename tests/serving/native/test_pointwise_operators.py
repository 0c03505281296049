"""The kernels between the products against their functions in ONNX Runtime's operators."""

import numpy as np
import onnxruntime
import pytest

from tests.serving.native import single_operator

pytestmark = single_operator.needs_kernels
LEVELS_AND_SCALE = {"levels": "uint8", "scale": "float32"}
SIZES = [(1, 1, 16), (2, 3, 48), (1, 16, 576), (16, 1, 1536), (1, 70, 4112)]


def normal(*sizes: int, seed: int = 0, size: float = 1.0) -> np.ndarray:
    return (size * np.random.default_rng(seed).normal(size=sizes)).astype(np.float32)


def both(kind: str, feeds: dict, outputs: dict, **attributes: object) -> list[list[np.ndarray]]:
    """Outputs of the kernel and of the function."""
    return [single_operator.run(kind, feeds, outputs, kernels, **attributes) for kernels in (True, False)]


def check_levels(ours: np.ndarray, theirs: np.ndarray) -> None:
    error = np.abs(ours.astype(int) - theirs)
    assert error.max() <= 1  # a tie, rounded either way
    assert error.mean() < 2e-3


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("scaled", ["rows", "all"])
def test_add_norm_quantize(sizes: tuple[int, ...], scaled: str) -> None:
    factor = np.abs(normal(*sizes[:2], 1, seed=2)) if scaled == "rows" else np.array([0.7], np.float32)
    feeds = {"x": normal(*sizes), "delta": normal(*sizes, seed=1, size=3), "delta_scale": factor,
             "gain": normal(sizes[-1], seed=3), "scale": np.array(0.03, np.float32)}  # fmt: skip
    ours, theirs = both("AddNormQuantize", feeds, {"levels": "uint8", "sum": "float32"}, epsilon=1e-5)
    assert np.abs(ours[1] - theirs[1]).max() < 1e-5
    check_levels(ours[0], theirs[0])
    assert ours[0].min() == 0 or sizes[-1] < 100  # what is too large is clipped
    assert ours[0].max() == 255 or sizes[-1] < 100


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_quantize_rows(sizes: tuple[int, ...]) -> None:
    x = normal(*sizes) * np.geomspace(1e-6, 1e6, sizes[1])[:, None].astype(np.float32)
    ours, theirs = both("QuantizeRows", {"x": x}, LEVELS_AND_SCALE, axis=2, block_size=sizes[-1])
    assert ours[1] == pytest.approx(theirs[1], rel=1e-6)
    check_levels(ours[0], theirs[0])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_swiglu(sizes: tuple[int, ...], size: float) -> None:
    gate, up = normal(*sizes, size=size), normal(*sizes, seed=1)
    feeds = {"both": np.concatenate([gate, up], axis=-1)}
    gate, up = gate.astype(np.float64), up.astype(np.float64)
    wanted = gate / (1 + np.exp(-gate)) * up
    for found in both("SwiGLU", feeds, {"out": "float32"}):
        assert np.abs(found[0] - wanted).max() < 1e-6 * (1 + np.abs(wanted).max())
    ours, theirs = both("SwiGLUQuantize", feeds, LEVELS_AND_SCALE, axis=2, block_size=sizes[-1])
    assert ours[1] == pytest.approx(theirs[1], rel=1e-5)
    check_levels(ours[0], theirs[0])


def test_rows_of_noughts_have_the_scale_nought() -> None:
    levels, scale = single_operator.run("QuantizeRows", {"x": np.zeros((1, 2, 32), np.float32)}, LEVELS_AND_SCALE, True,
                                        axis=2, block_size=32)  # fmt: skip
    assert (scale == 0).all()
    assert (levels == 128).all()


def test_a_row_gives_the_same_bits_alone_and_among_others() -> None:
    feeds = {"both": normal(16, 1, 2 * 1536)}
    arguments = {"outputs": LEVELS_AND_SCALE, "kernels": True, "axis": 2, "block_size": 1536}
    together = single_operator.run("SwiGLUQuantize", feeds, **arguments)
    alone = single_operator.run("SwiGLUQuantize", {name: x[5:6] for name, x in feeds.items()}, threads=1, **arguments)
    assert all((ours[0] == theirs[5]).all() for ours, theirs in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("kind", "feeds", "outputs", "message"),
    [
        ("QuantizeRows", {"x": normal(1, 2, 24)}, LEVELS_AND_SCALE, "no multiple of 16"),
        ("QuantizeRows", {"x": normal(1, 2, 0)}, LEVELS_AND_SCALE, "no multiple of 16"),
        ("SwiGLU", {"both": normal(1, 2, 48)}, {"out": "float32"}, "no multiple of 16"),
        ("SwiGLUQuantize", {"both": normal(1, 2, 33)}, LEVELS_AND_SCALE, "no multiple of 16"),
        ("SwiGLUQuantize", {"both": normal(1, 2, 0)}, LEVELS_AND_SCALE, "no multiple of 16"),
    ],
    ids=str,
)
def test_bad_sizes_are_refused(kind: str, feeds: dict, outputs: dict, message: str) -> None:
    attributes = {} if kind == "SwiGLU" else {"axis": 2, "block_size": 32}
    opened = single_operator.session(kind, feeds, outputs, True, **attributes)
    with pytest.raises(Exception, match=message):
        opened.run(None, feeds)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("delta", normal(1, 3, 32), "do not go together"),
        ("gain", normal(31), "do not go together"),
        ("scale", normal(2), "do not go together"),
        ("delta_scale", normal(3, 1), "neither one number nor one for each row"),
    ],
)
def test_bad_sizes_of_a_norm_are_refused(name: str, value: np.ndarray, message: str) -> None:
    feeds = {"x": normal(1, 4, 32), "delta": normal(1, 4, 32), "delta_scale": normal(4, 1), "gain": normal(32),
             "scale": normal(1)}  # fmt: skip
    opened: onnxruntime.InferenceSession = single_operator.session(
        "AddNormQuantize", feeds, {"levels": "uint8", "sum": "float32"}, True, epsilon=1e-5
    )
    with pytest.raises(Exception, match=message):
        opened.run(None, {**feeds, name: value})
