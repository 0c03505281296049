"""What a network of the last few tokens sees of earlier ones, so that it is written once for two ways to run it.

    earlier, now = history.back(x, (1, 0))

`Whole` has all tokens at once and looks back in the row; `Stepwise` has one token of each row and looks back in a state
that it passes on. Before a document's first token both see zeros, so a state of zeros begins a document.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class History(Protocol):
    """Looks back."""

    def back(self, x: Tensor, steps: Sequence[int]) -> list[Tensor]:
        """`x` as it was each of so many tokens before, shaped as `x`."""


class Whole:
    """Rows of documents side by side."""

    def __init__(self, positions: Tensor) -> None:
        """`positions`: int64 [B or 1, S], counted within each document."""
        self._positions = positions.unsqueeze(-1)

    def back(self, x: Tensor, steps: Sequence[int]) -> list[Tensor]:
        """[B, S, W] → one [B, S, W] a step; zeros where that is before the document."""
        length = x.shape[1]
        return [
            F.pad(x, (0, 0, min(n, length), 0))[:, :length] * (self._positions >= n).to(x.dtype) if n else x
            for n in steps
        ]


class Stepwise:
    """One token a row. After the network ran, `after` is the state to pass on."""

    def __init__(self, state: Sequence[Tensor]) -> None:
        """`state`: for each call of `back` its last tokens [B, longest step, W], oldest first."""
        self._state = list(state)
        self.after: list[Tensor] = []

    def back(self, x: Tensor, steps: Sequence[int]) -> list[Tensor]:
        """[B, W] → one [B, W] a step."""
        seen = torch.cat([self._state[len(self.after)], x.unsqueeze(1)], 1)
        self.after.append(seen[:, 1:])
        last = seen.shape[1] - 1
        return [seen[:, last - n] for n in steps]
