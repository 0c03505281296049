"""How a series enters a network: gaps filled, each channel standardised by constants of the train split."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class SeriesEntry(nn.Module):
    """float32 [B, S, C] with NaN → [B, C, S] without: a gap has the last value before it, at the beginning the first
    one after it; each channel has mean 0 and standard deviation 1 over train."""

    mean: Tensor
    std: Tensor

    def __init__(self, fitted: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(fitted["mean"], dtype=torch.float32))
        self.register_buffer("std", torch.tensor(fitted["std"], dtype=torch.float32))

    def forward(self, steps: Tensor) -> Tensor:
        """See the class."""
        filled = fill(fill(steps), backwards=True)
        scaled = (filled - self.mean) / self.std
        return torch.where(torch.isnan(scaled), torch.zeros_like(scaled), scaled).transpose(1, 2)


def fill(x: Tensor, *, backwards: bool = False) -> Tensor:
    """[B, S, C] with the nearest number before (or behind) each NaN in its place; NaN where there is none.

    By doubling: after shifts by 1, 2, 4, ... a gap of any length is filled, in log2(S) operations that any runtime has.
    """
    length, shift = x.shape[1], 1
    while shift < length:
        edge = (0, 0, 0, shift) if backwards else (0, 0, shift, 0)
        padded = functional.pad(x, edge, value=float("nan"))
        x = torch.where(torch.isnan(x), padded[:, shift:] if backwards else padded[:, :length], x)
        shift *= 2
    return x
