"""How the tokens of a batch lie while an encoder works on them: rows with padding, or packed without.

Both give the same numbers. Exported graphs and compiled ones take rows, whose shapes do not depend on the texts;
training takes `Packed`, where no linear layer or norm works on padding.
"""

from typing import Literal, NamedTuple, Protocol

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
    types: Tensor | None
    """int64 of the tokens' shape: which of BERT's token types each has; None: all the first."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each text to itself; [..., H, D] of the tokens' shape → the same."""

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """[..., W] of the tokens' shape → one vector a text, [B, W]."""

    def rows(self, x: Tensor) -> Tensor:
        """[..., W] of the tokens' shape → a text a row, [B, S, W]; behind a text stands anything."""


class Rows:
    """`Layout`: a text a row, zeros behind it."""

    def __init__(self, tokens: Tensor, types: Tensor | None = None) -> None:
        self.tokens, self.types, self.there = tokens, types, tokens != 0
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

    def rows(self, x: Tensor) -> Tensor:
        """See `Layout`."""
        return x


class Packed:
    """`Layout`: the texts end to end in one row, short ones first. On a GPU attention reads it as it is. On a CPU,
    whose operator would look at all pairs of tokens, attention alone works on rows: a few groups of texts of about one
    length, each in float32, since PyTorch 2.13's takes six times as long back in bfloat16 there."""

    GROUPS = 4

    def __init__(self, tokens: Tensor, types: Tensor | None = None) -> None:
        counts, order = (tokens != 0).sum(1).sort(stable=True)
        tokens = tokens[order]
        at = (tokens != 0).flatten().nonzero().squeeze(1)  # [T]
        length = tokens.shape[1]
        self.tokens, self.places = tokens.flatten()[at][None], (at % length)[None]
        self.types = None if types is None else types[order].flatten()[at][None]
        self.ends = F.pad(counts.cumsum(0), (1, 0)).int()  # [B + 1]
        self._counts, self._text, self._back = counts, at // length, order.argsort()
        self._at, self._length = at, length
        self._groups = [_Group.of(part) for part in counts.chunk(self.GROUPS)] if tokens.device.type == "cpu" else []

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Layout`."""
        if not self._groups:
            return attention(q, k, v, causal=False, cu_seqlens_q=self.ends)
        sizes = [len(group.kept) for group in self._groups]
        with torch.autocast("cpu", enabled=False):
            parts = zip(self._groups, *(x[0].float().split(sizes) for x in (q, k, v)), strict=True)
            return torch.cat([group.attend(*rest) for group, *rest in parts])[None].to(v.dtype)

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """See `Layout`."""
        if pooling == "mean":
            total = x.new_zeros(len(self._counts), x.shape[-1]).index_add(0, self._text, x[0])
            pooled = total / self._counts.clamp(min=1).unsqueeze(1).to(x.dtype)
        else:
            pooled = x[0].index_select(0, self.ends[:-1] if pooling == "cls" else self.ends[1:] - 1)
        return pooled.index_select(0, self._back)

    def rows(self, x: Tensor) -> Tensor:
        """See `Layout`."""
        spread = x.new_zeros(len(self._counts) * self._length, x.shape[-1]).index_copy(0, self._at, x[0])
        return spread.unflatten(0, (-1, self._length)).index_select(0, self._back)


class _Group(NamedTuple):
    """Neighbouring texts of a packed row as rows of tokens."""

    where: Tensor
    """[b, s]: which of the group's tokens stands there; behind a text its last one again."""
    there: Tensor
    """bool [b, s]"""
    kept: Tensor
    """[t]: the places in b · s of the group's tokens."""

    @classmethod
    def of(cls, counts: Tensor) -> "_Group":
        """Of texts of so many tokens."""
        places, counts = torch.arange(int(counts.max())), counts[:, None]
        there = places < counts
        where = (counts.cumsum(0) - counts + places.minimum(counts - 1)).clamp(min=0)
        return cls(where, there, there.flatten().nonzero().squeeze(1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[t, H, D] → the same."""
        rows = (x.index_select(0, self.where.flatten()).unflatten(0, self.where.shape) for x in (q, k, v))
        return attention(*rows, causal=False, key_padding=self.there).flatten(0, 1).index_select(0, self.kept)
