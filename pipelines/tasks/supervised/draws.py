"""Random numbers for augmentation that depend on nothing but seed, epoch and example."""

import numpy as np
from numpy.typing import NDArray


def uniform(seed: int, epochs: NDArray[np.int64], examples: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) [B, count] by a hash of (seed, epoch, example, place): splitmix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = np.full(len(epochs), np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15))
        for part in (epochs, examples):
            x = _mix(x + part.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03))
        places = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = _mix(x[:, None] + places[None])
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
