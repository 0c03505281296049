"""How the tokens of a batch lie while an encoder works on them: rows with padding, or packed without.

Both give the same numbers. Exported graphs and compiled ones take rows, whose shapes do not depend on the texts;
training takes `Packed`, where no linear layer or norm works on padding.
"""

from collections.abc import Iterator
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import attention

Pooling = Literal["mean", "cls", "last"]


class Layout(Protocol):
    """Where each token stands."""

    tokens: Tensor
    """int64 [B, S], or packed [1, T]."""
    places: Tensor
    """int64: each token's place within its text; broadcasts to `tokens`."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each text to itself; [..., H, D] of the tokens' shape → the same."""

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """[..., W] of the tokens' shape → one vector a text, [B, W]."""


class Rows:
    """`Layout`: a text a row, zeros behind it."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens, self.there = tokens, tokens != 0
        self.places = torch.arange(tokens.shape[1], device=tokens.device)[None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Layout`."""
        return attention(q, k, v, causal=False, key_padding=self.there)

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """See `Layout`."""
        if pooling == "cls":
            return x[:, 0]
        count = self.there.sum(1, keepdim=True)  # [B, 1]
        weight = self.there if pooling == "mean" else self.places == count - 1
        total = (x * weight.unsqueeze(2).to(x.dtype)).sum(1)
        return total / count.clamp(min=1).to(x.dtype) if pooling == "mean" else total


class Packed:
    """`Layout`: the texts end to end in one row. On a GPU attention reads it as it is. On a CPU, whose operator would
    look at all pairs of tokens, attention alone works on rows: a few groups of texts of about one length, each in
    float32, since PyTorch 2.13's takes six times as long back in bfloat16 there."""

    GROUPS = 4

    def __init__(self, tokens: Tensor) -> None:
        there = tokens != 0
        self.rows, self.length = tokens.shape
        self.at = there.flatten().nonzero().squeeze(1)  # [T]
        self.counts = there.sum(1)
        self.tokens = tokens.flatten()[self.at][None]
        self.places = (self.at % self.length)[None]
        self.ends = F.pad(self.counts.cumsum(0), (1, 0)).int()  # [B + 1]
        self._groups: list[tuple[Tensor, Tensor, Tensor]] = []
        """Of each: where in the row its tokens lie and which are there, [b, s]; and of these the places in b · s."""
        if tokens.device.type == "cpu":
            self._groups = list(self._grouped())
            self._back = torch.cat([where.flatten()[kept] for where, _, kept in self._groups]).argsort()

    def _grouped(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        begins = self.ends[:-1].long()
        for chosen in self.counts.argsort(stable=True).chunk(self.GROUPS):
            counts = self.counts[chosen, None]
            places = torch.arange(int(counts.max()))
            there = places < counts
            where = begins[chosen, None] + places.minimum(counts - 1).clamp(min=0)  # its last token again behind it
            yield where, there, there.flatten().nonzero().squeeze(1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Layout`."""
        if not self._groups:
            return attention(q, k, v, causal=False, cu_seqlens_q=self.ends)
        parts = []
        with torch.autocast("cpu", enabled=False):
            for where, there, kept in self._groups:
                rows = (x[0].float().index_select(0, where.flatten()).unflatten(0, where.shape) for x in (q, k, v))
                made = attention(*rows, causal=False, key_padding=there)  # [b, s, H, D]
                parts.append(made.flatten(0, 1).index_select(0, kept))
            return torch.cat(parts).index_select(0, self._back)[None].to(v.dtype)

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """See `Layout`."""
        if pooling == "cls":
            return x[0].index_select(0, self.ends[:-1])
        if pooling == "last":
            return x[0].index_select(0, self.ends[1:] - 1)
        total = x.new_zeros(self.rows, x.shape[-1]).index_add(0, self.at // self.length, x[0])
        return total / self.counts.clamp(min=1).unsqueeze(1).to(x.dtype)
