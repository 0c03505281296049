"""A fetched folder of clips in which each letter is a tone: words of a language that two speakers have."""

import io
from typing import Any

import numpy as np
import soundfile

from pipelines.recipe.schema import Recipe

RATE = 4000
WORDS = {"0": "ab", "1": "ca", "2": "bcc"}
TONES = {"a": 300, "b": 700, "c": 1300}
SPEAKERS = {"low": 0.95, "high": 1.05}


def wav(sound: np.ndarray, rate: int = RATE, form: str = "WAV") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format=form, subtype="PCM_16")
    return out.getvalue()


def spoken(text: str, dice: np.random.Generator, speaker: str = "low", rate: int = RATE) -> np.ndarray:
    """float32 samples: a tone a letter, of 0.1 s, with a gap that parts two of one kind."""
    parts = []
    for letter in text:
        at = np.arange(int(dice.uniform(0.09, 0.12) * rate)) / rate
        tone = np.sin(2 * np.pi * TONES[letter] * SPEAKERS[speaker] * at) if letter != " " else np.zeros(len(at))
        parts += [tone * np.hanning(len(at)) * dice.uniform(0.3, 0.8), np.zeros(int(0.03 * rate))]
    sound = np.concatenate(parts)
    return (sound + dice.normal(0, 0.002, len(sound))).astype(np.float32)


def files(takes: int = 12) -> dict[str, bytes]:
    """clips/WORD_SPEAKER_TAKE.wav"""
    dice = np.random.default_rng(11)
    return {
        f"clips/{name}_{speaker}_{take}.wav": wav(spoken(text, dice, speaker))
        for name, text in WORDS.items() for speaker in SPEAKERS for take in range(takes)
    }  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    """A small recogniser of them. The blank stands last: nothing may take it for the first."""
    values: dict[str, Any] = {
        "name": "tones",
        "description": "tones",
        "licence": "none",
        "source": {"kind": "file", "path": "tones", "sha256": "0" * 64},
        "data": {"kind": "speech", "text": "(?P<text>[0-9])_(?P<speaker>[a-z]+)_[0-9]+[.]wav", "words": WORDS,
                 "join": {"fewest": 1, "most": 3, "by": "speaker", "train": 160, "valid": 20, "test": 24, "pause": 0.1},
                 "rate": RATE, "seconds": 20, "mels": 16, "shift": 0.05, "volume": 6},
        "split": {"method": "given", "given": {"test": "_[0-3][.]wav", "valid": "_[4-6][.]wav"}},
        "task": {"kind": "transcription", "blank": "last", "order": 3, "language": "en"},
        "model": {"kind": "conv-lstm", "channels": 8, "width": 24, "layers": 1, "dropout": 0.0},
        "train": {"steps": 240, "batch": 16, "lr": 0.02, "evaluate_every": 120, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "evaluate": {"group": "speaker"},
        "export": {"batch_sizes": [1, 2], "lengths": [1, 39, 4001], "golden": 3, "int8": False},
    }  # fmt: skip
    return Recipe.of(values | changes)
