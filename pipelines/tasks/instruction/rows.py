"""Rows of chats as tensors: tokens end to end, targets where an answer is learnt, borders that no attention crosses."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.text.shards import Shards
from kernels.cross_entropy.linear_cross_entropy import IGNORE

STEP = 64
"""Rows are as wide as the longest of a batch, rounded up to so many tokens: few widths for what is compiled."""


class Rows(NamedTuple):
    """Rows of chats, with padding that counts for nothing behind the last of each."""

    tokens: Tensor
    """int64 [rows, width]"""
    targets: Tensor
    """int64 [rows, width]: the next token where it is learnt, else IGNORE."""
    cu_seqlens: Tensor
    """int32 [N + 1]: where chats (and paddings) begin in the tokens laid end to end, with the end."""
    chats: NDArray[np.int64]
    """[rows, width]: the chat that each token is of; -1 in padding."""


def inputs(shards: Shards) -> NDArray[np.int64]:
    """How many tokens of each chat are shown: all but the last, which is only a target."""
    offsets = np.asarray(shards.offsets)
    return offsets[1:] - offsets[:-1] - 1


def rows_of(shards: Shards, rows: Sequence[Sequence[int]], most: int, device: torch.device) -> Rows:
    """The rows of these chats, at most `most` tokens wide."""
    lengths = inputs(shards)
    longest = max(int(lengths[list(row)].sum()) for row in rows)
    width = min(most, -(-longest // STEP) * STEP)
    tokens = np.full((len(rows), width), shards.eos, np.int64)
    targets = np.full((len(rows), width), IGNORE, np.int64)
    chats = np.full((len(rows), width), -1, np.int64)
    borders = []
    for number, row in enumerate(rows):
        at = 0
        for chat in row:
            begin, length = int(shards.offsets[chat]), int(lengths[chat])
            text = shards.tokens_at(begin, length + 1)
            learnt = shards.mask_at(begin, length + 1)[1:]
            place = slice(at, at + length)
            tokens[number, place], chats[number, place] = text[:-1], chat
            targets[number, place] = np.where(learnt, text[1:], IGNORE)
            borders.append(number * width + at)
            at += length
        if at < width:
            borders.append(number * width + at)
    cu_seqlens = np.array([*borders, len(rows) * width], np.int32)

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Rows(tensor(tokens), tensor(targets), tensor(cu_seqlens), chats)
