"""A fetched folder of clips: low and high tones of four speakers, of several lengths and two rates."""

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.recipe.schema import Recipe
from tests.pipelines.tasks import raw_files
from tests.pipelines.tasks.supervised import small_images

SPEAKERS = ("ada", "bob", "eve", "zoe")


def tone(hertz: float, seconds: float, rate: int, volume: float = 0.5) -> bytes:
    """A WAV of a sine; 0 seconds: without samples."""
    samples = volume * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return wav(samples, rate)


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Samples of full scale 1 as 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32_000).astype("<i2").tobytes())
    return out.getvalue()


def write_raw(raw: Path, count: int = 120) -> None:
    dice, files = np.random.default_rng(5), {}
    for number in range(count):
        label, speaker = ("low", "high")[number % 2], SPEAKERS[number // 2 % 4]
        hertz = {"low": 300, "high": 900}[label] * float(dice.uniform(0.9, 1.1))
        sound = tone(hertz, float(dice.uniform(0.1, 0.5)), 8000 if number % 7 else 16_000)
        files[f"{label}_{speaker}_{number}.wav"] = sound
    raw_files.write_raw(raw, files)


def recipe(**changes: Any) -> Recipe:
    """A small residual network on them; zoe is a stranger."""
    values: dict[str, Any] = {
        "name": "tones",
        "data": {
            "kind": "audio", "rate": 8000, "seconds": 1.0, "window": 0.4, "mels": 16, "speed": 0.05, "shift": 0.05,
            "volume": 6, "noise": 0.01, "folders": {"label": "(?P<label>low|high)_((?P<stranger>zoe)|[a-z]+)_"},
        },
        "split": {"method": "given", "given": {"test": "_[0-9]*[05][.]wav|zoe"}, "valid": 0.2},
        "task": {"kind": "classification"},
        "model": {"kind": "resnet", "widths": [8, 16], "blocks": 1, "stride": 2},
        "train": {"steps": 40, "batch": 16, "lr": 0.005, "evaluate_every": 20, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "evaluate": {"groups": ["stranger"]},
        "export": {"batch_sizes": [1, 3], "lengths": [1, 500, 9000], "golden": 6, "int8": False},
        "gates": ["groups.stranger=zoe.accuracy >= 0.5"],
    }  # fmt: skip
    return small_images.recipe(**(values | changes))
