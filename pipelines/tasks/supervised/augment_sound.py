"""Augmented training clips: each a function of (seed, epoch, example), whatever batch or process it falls into."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.supervised.draws import uniform


class Changes(Protocol):
    """The keys of a recipe's `data` that say how clips are changed."""

    @property
    def rate(self) -> int:
        """Samples per second."""

    @property
    def speed(self) -> float:
        """Most relative change."""

    @property
    def shift(self) -> float:
        """Most seconds."""

    @property
    def volume(self) -> float:
        """Most decibels."""

    @property
    def noise(self) -> float:
        """Most of it."""


def augmented(
    clips: NDArray[np.float32], data: Changes, seed: int, epochs: NDArray[np.int64], examples: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Clips [B, samples] of these examples → as many, played faster or slower, later, louder or softer, with noise.

    The order of what is drawn does not depend on what is switched on.
    """
    if not (data.speed or data.shift or data.volume or data.noise):
        return clips
    draws = 2 * uniform(seed, epochs, examples, 5) - 1  # [B, 5] in [-1, 1)
    at, made = np.arange(clips.shape[1]), np.empty_like(clips)
    for row, (clip, (speed, shift, volume, noise, dice)) in enumerate(zip(clips, draws, strict=True)):
        later = (shift + 1) / 2 * data.shift * data.rate
        played = np.interp((at - later) * (1 + data.speed * speed), at, clip, left=0.0, right=0.0)
        generator = np.random.Generator(np.random.Philox(key=int((dice + 1) * 2**52)))
        hiss = generator.standard_normal(len(clip), dtype=np.float32) * (data.noise * (noise + 1) / 2)
        made[row] = played * 10 ** (data.volume * volume / 20) + hiss
    return made
