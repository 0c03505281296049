"""Packed documents: many documents end to end in one batch, none of which attends to another.

`cu_seqlens` says where they begin and end; each backend wants that in another form, made here once for all layers.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.attention.reference import layout


class Packing(NamedTuple):
    """Where documents begin and end, and what a backend made of it."""

    cu_seqlens_q: Tensor  # int32 [N + 1]
    cu_seqlens_k: Tensor
    ranges_q: Tensor | None = None  # int32 [3, queries], Triton: each query's keys' start, end, and offset
    ranges_k: Tensor | None = None  # int32 [3, keys], Triton: each key's queries' start, end, and offset
    mask: Tensor | None = None  # bool [B, 1, S, S], SDPA: causal and within documents


def pack(cu_seqlens: Tensor, batch: int, length: int, branches: Tensor | None = None) -> Packing:
    """Documents of `batch` rows of `length` tokens, for causal self-attention (pass it to `attention` as `packing`).

    `cu_seqlens`: int32 [N + 1] on the tokens' device, from 0 to batch · length; with batch > 1 every row must start a
    document. Tokens before the first border and after the last belong to no document. On a CPU it makes the mask that
    SDPA needs, elsewhere what the Triton kernels read. It never waits for a GPU and has shapes that do not depend on
    the documents, so it compiles. `branches`: integers [batch, length], on a CPU alone: a token sees those before it in
    its document that are of its own branch or of branch 0 (as answers see the prompt that they share, not each other).
    Raises ValueError for what `check_offsets` refuses.
    """
    check_offsets("cu_seqlens", cu_seqlens, batch * length)
    if cu_seqlens.device.type == "cpu":
        mask, _ = layout(
            batch, length, length, causal=True, window=None, cu_seqlens_q=cu_seqlens, cu_seqlens_k=None,
            key_padding=None, device=cu_seqlens.device,
        )  # fmt: skip
        if branches is not None:
            mask = mask & ((branches[:, None, :, None] == branches[:, None, None]) | (branches[:, None, None] == 0))
        return Packing(cu_seqlens, cu_seqlens, mask=mask)
    if branches is not None:
        raise ValueError(f"attention: branches of documents are for CPUs alone, not for {cu_seqlens.device.type}")
    return with_ranges(cu_seqlens, cu_seqlens, batch * length, batch * length)


def check_offsets(name: str, offsets: Tensor, tokens: int) -> None:
    """Raise ValueError unless `offsets` are borders within `tokens`. Values are looked at on a CPU alone, and eagerly.

    On a GPU looking would be waiting: there borders outside the tokens count as the nearest one inside.
    """
    if offsets.dtype != torch.int32 or offsets.dim() != 1 or offsets.shape[0] < 2:
        given = f"{offsets.dtype} {list(offsets.shape)}"
        raise ValueError(f"attention: {name} must be int32 [N + 1] of at least one document, not {given}")
    if offsets.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if offsets[0] < 0 or offsets[-1] > tokens or (offsets.diff() < 0).any():
        raise ValueError(
            f"attention: {name} must rise from 0 or more to at most the {tokens} tokens, not {_short(offsets)}"
        )


def _short(offsets: Tensor) -> str:
    values = [str(value) for value in offsets.tolist()]
    return ", ".join(values if len(values) <= 8 else [*values[:4], "...", *values[-3:]])


def with_ranges(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, queries: int, keys: int) -> Packing:
    """What the Triton kernels read: for each token the other side's interval and the offset from query to key."""
    same = cu_seqlens_k is cu_seqlens_q
    cu_seqlens_q = cu_seqlens_q.clamp(0, queries)  # the kernels read wherever an interval points
    cu_seqlens_k = cu_seqlens_q if same else cu_seqlens_k.clamp(0, keys)
    ranges_q = _ranges(cu_seqlens_q, cu_seqlens_k, cu_seqlens_q, cu_seqlens_k, queries)
    ranges_k = ranges_q if same else _ranges(cu_seqlens_k, cu_seqlens_q, cu_seqlens_q, cu_seqlens_k, keys)
    return Packing(cu_seqlens_q, cu_seqlens_k, ranges_q, ranges_k)


def _ranges(own: Tensor, other: Tensor, queries: Tensor, keys: Tensor, tokens: int) -> Tensor:
    """[start, end, offset] int32 [3, tokens], monotone along the tokens; those outside all documents see nothing."""
    place = torch.arange(tokens, device=own.device, dtype=torch.int32)
    document = torch.bucketize(place, own[1:].contiguous(), right=True)
    beyond = place >= own[-1]
    document = document.clamp(max=own.shape[0] - 2)
    start = torch.where(beyond, other[-1], other[document])
    end = torch.where(place < own[0], other[0], other[document + 1])  # the last query lines up with the last key
    return torch.stack([start, end, keys[document + 1] - queries[document + 1]]).int()


def positions(cu_seqlens: Tensor, batch: int, length: int) -> Tensor:
    """Position of each token within its document, int64 [batch, length]; before the first one, from the start."""
    place = torch.arange(batch * length, device=cu_seqlens.device)
    document = torch.bucketize(place, cu_seqlens[1:].long(), right=True).clamp(max=cu_seqlens.shape[0] - 2)
    return torch.where(place < cu_seqlens[0], place, place - cu_seqlens.long()[document]).view(batch, length)
