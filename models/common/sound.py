"""How sound enters a network: a log-mel spectrogram inside the graph, standardised by constants of the train split.

The Fourier transform is a matrix product, so that the trainer and every runtime compute the same.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FRAME, HOP = 0.032, 0.010
"""Seconds of a frame, and from one to the next."""
LEAST = 1e-6
"""Added to the power of a band before its logarithm: silence, on the scale where full volume is 1."""


class LogMel(nn.Module):
    """float32 [B, any number of samples from 1 up] → float32 [B, mels, frames]; what is longer than `samples` is cut,
    what is shorter is silent behind. `samples` 0: all of it, and as much silence as makes its end a frame."""

    waves: Tensor
    bands: Tensor

    def __init__(self, rate: int, samples: int, mels: int) -> None:
        super().__init__()
        self.size, self.hop = round(FRAME * rate), max(1, round(HOP * rate))
        self.samples = max(samples, self.size) if samples else 0
        self.register_buffer("waves", _waves(self.size), persistent=False)
        self.register_buffer("bands", mel_bands(rate, self.size, mels), persistent=False)

    @property
    def frames(self) -> int:
        """Frames that it makes of `samples`."""
        return (self.samples - self.size) // self.hop + 1

    def forward(self, sound: Tensor) -> Tensor:
        """See the class."""
        whole = functional.pad(sound, (0, self.samples or self.size))
        whole = whole[:, : self.samples] if self.samples else whole
        parts = whole.unfold(1, self.size, self.hop) @ self.waves  # [B, frames, 2 · bins]
        cosine, sine = parts.chunk(2, 2)
        return ((cosine.square() + sine.square()) @ self.bands + LEAST).log().transpose(1, 2)


class SoundEntry(nn.Module):
    """float32 [B, samples] → float32 [B, 1, mels, frames], each band with mean 0 and deviation 1 over train."""

    mean: Tensor
    std: Tensor

    def __init__(self, rate: int, fitted: Mapping[str, Any]) -> None:
        super().__init__()
        self.log_mel = LogMel(rate, int(fitted["samples"]), len(fitted["mean"]))
        self.register_buffer("mean", torch.tensor(fitted["mean"], dtype=torch.float32)[:, None])
        self.register_buffer("std", torch.tensor(fitted["std"], dtype=torch.float32)[:, None])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an item behind it: [1, mels, frames], as of a grey image."""
        return 1, len(self.mean), self.log_mel.frames

    def forward(self, sound: Tensor) -> Tensor:
        """See the class."""
        return ((self.log_mel(sound) - self.mean) / self.std)[:, None]


def _waves(size: int) -> Tensor:
    """[size, 2 · bins]: cosines and sines of the discrete Fourier transform, below a Hann window."""
    at = torch.arange(size, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * at / size)
    angles = 2 * math.pi * at[:, None] * torch.arange(size // 2 + 1, dtype=torch.float64)[None] / size
    return (window[:, None] * torch.cat([angles.cos(), angles.sin()], 1) / window.sum()).float()


def mel_bands(rate: int, size: int, mels: int) -> Tensor:
    """[bins, mels]: triangles that are equally wide on the mel scale of O'Shaughnessy (1987), 2595 log10(1 + f / 700),
    between 0 and half the rate."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None] * rate / size
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return torch.minimum(rising, falling).clamp(min=0).float()
