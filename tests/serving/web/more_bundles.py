"""Forward bundles of the kinds that only the playground's tests need: a sound, a series, and several inputs at once."""

import io
import json
import wave
from pathlib import Path

import numpy as np
from onnx import TensorProto

from data.signature import (
    AudioInput,
    BoxesOutput,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    SeriesInput,
    SeriesOutput,
    Signature,
    VectorInput,
    VectorOutput,
)
from tests.serving import forward_bundles

RATE, CONTEXT, CHANNELS = 8000, 24, ("load", "wind")
HOURS = tuple(f"in {hour} h" for hour in range(1, 7))
BIRDS = Signature(
    task="audio-classification",
    inputs=(AudioInput(name="sound", shape=(-1,), rate=RATE, seconds=3),),
    outputs=(LabelsOutput(name="label", shape=(12,), labels=("thrush", "wren", *(f"bird {i}" for i in range(10)))),),
)
GRID = Signature(
    task="time-series-forecasting",
    inputs=(SeriesInput(name="history", shape=(CONTEXT, 2), context=CONTEXT, channels=CHANNELS, step="1h"),),
    outputs=(NumbersOutput(name="forecast", shape=(6,), names=HOURS, units=("MW",) * 6),),
)
AHEAD = GRID.model_copy(
    update={"outputs": (SeriesOutput(name="forecast", shape=(3, 2, 3), channels=CHANNELS, quantiles=(0.1, 0.9),
                                     step="1h"),)}
)  # fmt: skip
HALVES = forward_bundles.SHAPES.model_copy(
    update={
        "task": "image-segmentation",
        "outputs": (MaskOutput(name="mask", shape=(2, 8, 8), labels=("dark", "bright")),),
    }
)
THINGS = forward_bundles.SHAPES.model_copy(
    update={
        "task": "object-detection",
        "outputs": (BoxesOutput(name="boxes", shape=(3, 6), labels=("cat", "dog"), iou=0.5, least=0.1, threshold=0.4),),
    }
)
SUM = Signature(
    task="feature-extraction",
    inputs=(VectorInput(name="given", shape=(2,), names=("east", "north")),),
    outputs=(
        NumbersOutput(name="sum", shape=(1,), names=("sum",), units=("km",)),
        VectorOutput(name="same", shape=(2,)),
    ),
)


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> bytes:
    """A WAV of a sine that fades."""
    at = np.arange(int(seconds * rate))
    samples = np.sin(2 * np.pi * hertz * at / rate) * np.linspace(1, 0.1, at.size)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 30_000).astype("<i2").tobytes())
    return out.getvalue()


def history(seed: int, steps: int = CONTEXT) -> list[list[float]]:
    """Rows of two channels, oldest first."""
    at = np.arange(steps)
    load = 60 + 20 * np.sin((at + seed) / 24 * 2 * np.pi)
    return [[round(float(a), 2), round(float(b), 2)] for a, b in zip(load, 8 + 3 * np.cos(at / 9), strict=True)]


def sounds(folder: Path, name: str = "birds") -> Path:
    """Loud sounds are thrushes, quiet ones wrens."""

    def make() -> None:
        b = forward_bundles.Builder()
        size = b.node("ReduceMean", b.node("Abs", "sound"), b.weight(np.array([1])), keepdims=1)
        away = b.weight(np.array([[20, -20, *[-1] * 10]], np.float32))
        b.node("Softmax", b.node("MatMul", b.node("Sub", size, b.weight(np.float32(0.1))), away), out="label", axis=-1)
        b.save(folder / "model.onnx", {"sound": (TensorProto.FLOAT, ["B", "S"])}, {"label": ["B", 12]})

    return forward_bundles.write(folder, name, BIRDS, lambda seed: tone(300 + 50 * seed), make)


def series(folder: Path, name: str = "grid") -> Path:
    """Says the last six steps of the first channel again."""

    def make() -> None:
        b = forward_bundles.Builder()
        last = b.node("Slice", "history", b.weight(np.array([CONTEXT - 6, 0])), b.weight(np.array([CONTEXT, 1])),
                      b.weight(np.array([1, 2])))  # fmt: skip
        b.node("Squeeze", last, b.weight(np.array([2])), out="forecast")
        b.save(folder / "model.onnx", {"history": (TensorProto.FLOAT, ["B", CONTEXT, 2])}, {"forecast": ["B", 6]})

    return forward_bundles.write(folder, name, GRID, lambda seed: json.dumps(history(seed)).encode(), make)


def forecasts(folder: Path, name: str = "ahead") -> Path:
    """Says the last three steps again, a little less and a little more."""

    def make() -> None:
        b = forward_bundles.Builder()
        last = b.node("Slice", "history", b.weight(np.array([CONTEXT - 3])), b.weight(np.array([CONTEXT])),
                      b.weight(np.array([1])))  # fmt: skip
        levels = b.weight(np.array([0, -2, 2], np.float32))
        b.node("Add", b.node("Unsqueeze", last, b.weight(np.array([3]))), levels, out="forecast")
        b.save(folder / "model.onnx", {"history": (TensorProto.FLOAT, ["B", CONTEXT, 2])},
               {"forecast": ["B", 3, 2, 3]})  # fmt: skip

    return forward_bundles.write(folder, name, AHEAD, lambda seed: json.dumps(history(seed)).encode(), make)


def masks(folder: Path, name: str = "halves") -> Path:
    """The bright pixels of an image are one label, the dark ones another."""

    def make() -> None:
        b = forward_bundles.Builder()
        forward_bundles.image_graphs(folder)
        x = b.node("Cast", "image", to=TensorProto.FLOAT)
        x = b.node("Transpose", b.node("ReduceMean", x, b.weight(np.array([3]))), perm=[0, 3, 1, 2])
        x = b.node("Div", b.node("Sub", x, b.weight(np.float32(127.5))), b.weight(np.float32(20)))
        both = b.node("Concat", b.node("Neg", x), x, axis=1)
        b.node("Softmax", both, out="mask", axis=1)
        b.save(folder / "model.onnx", {"image": (TensorProto.UINT8, ["B", 8, 8, 3])}, {"mask": ["B", 2, 8, 8]})

    def halves(seed: int) -> bytes:
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[:, : 2 * (seed % 7 + 1)] = 255
        return forward_bundles.png(pixels)

    return forward_bundles.write(folder, name, HALVES, halves, make)


def things(folder: Path, name: str = "things") -> Path:
    """A dog in the upper half of any image, as sure as it is bright, and a cat in the lower one, half as sure."""

    def make() -> None:
        b = forward_bundles.Builder()
        forward_bundles.image_graphs(folder)
        x = b.node("Cast", "image", to=TensorProto.FLOAT)
        x = b.node("Div", b.node("ReduceMean", x, b.weight(np.array([1, 2, 3]))), b.weight(np.float32(255)))
        x = b.node("Reshape", x, b.weight(np.array([-1, 1, 1])))
        sure = np.zeros((1, 3, 6), np.float32)
        sure[0, :2, 4] = 1, 0.5
        fixed = np.array([[[0.25, 0.125, 0.75, 0.5, 0, 1], [0, 0.5, 1, 1, 0, 0], [0] * 6]], np.float32)
        b.node("Add", b.node("Mul", x, b.weight(sure)), b.weight(fixed), out="boxes")
        b.save(folder / "model.onnx", {"image": (TensorProto.UINT8, ["B", 8, 8, 3])}, {"boxes": ["B", 3, 6]})

    return forward_bundles.write(folder, name, THINGS, lambda seed: forward_bundles.picture(seed), make)


def vectors(folder: Path, name: str = "sum") -> Path:
    """Two outputs: the sum of two numbers, and the numbers again."""

    def make() -> None:
        b = forward_bundles.Builder()
        b.node("ReduceSum", "given", b.weight(np.array([1])), keepdims=1, out="sum")
        b.node("Identity", "given", out="same")
        b.save(folder / "model.onnx", {"given": (TensorProto.FLOAT, ["B", 2])}, {"sum": ["B", 1], "same": ["B", 2]})

    return forward_bundles.write(folder, name, SUM, lambda seed: json.dumps([seed, seed + 1.5]).encode(), make)
