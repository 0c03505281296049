"""Another sample rate, by a windowed sinc at the exact ratio of the two rates; float64 inside, the same everywhere."""

from math import ceil, gcd

import numpy as np
import numpy.typing as npt

ZEROS = 32
"""Zero crossings of the sinc to each side."""
ROLLOFF = 0.945
"""Where the low-pass cuts, of half the smaller rate."""
BETA = 14.77
"""Of the Kaiser window."""
CHUNK = 4096  # samples at once


def resample(samples: npt.NDArray[np.float32], rate: int, to: int) -> npt.NDArray[np.float32]:
    """float32 [n] at `rate` Hz → float32 [ceil(n · to / rate)] at `to` Hz. Sample 0 stays where it is; before and after
    the clip is silence. What lies above half the smaller rate is filtered out.
    """
    if rate == to:
        return samples
    common = gcd(rate, to)
    up, down = to // common, rate // common
    length = ceil(len(samples) * up / down)
    scale = ROLLOFF * min(1.0, to / rate)
    half = ceil(ZEROS / scale)
    padded = np.concatenate([np.zeros(half), samples.astype(np.float64), np.zeros(half + 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    out = np.empty(length, np.float32)
    for start in range(0, length, CHUNK):
        first, rest = np.divmod(np.arange(start, min(start + CHUNK, length), dtype=np.int64) * down, up)
        phases, which = np.unique(rest, return_inverse=True)
        out[start : start + CHUNK] = np.einsum("nk,nk->n", windows[first], _kernels(phases / up, half, scale)[which])
    return out


def _kernels(shifts: npt.NDArray[np.float64], half: int, scale: float) -> npt.NDArray[np.float64]:
    """float64 [shifts, 2 · half + 1]: the weights of the samples around a point that lies a shift after the middle."""
    distance = np.arange(-half, half + 1) - shifts[:, None]
    inside = np.clip(1 - (distance * scale / ZEROS) ** 2, 0, None)
    window = np.where(np.abs(distance) * scale <= ZEROS, np.i0(BETA * np.sqrt(inside)) / np.i0(BETA), 0.0)
    return scale * np.sinc(scale * distance) * window
