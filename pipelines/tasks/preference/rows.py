"""Pairs of answers as tensors: rows of tokens in which a pair's two answers share their prompt.

On a CPU a pair is one document of three parts, of which the answers do not see each other:

    prompt but its last token | last token, chosen answer | last token, rejected answer
    positions 0 … p - 2         p - 1, p, …                 p - 1, p, …

so that a prompt is computed once. Elsewhere, where attention knows documents but no branches of them, each answer
stands behind a prompt of its own. Both give the same log-probabilities.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.text.shards import Shards
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from pipelines.tasks.instruction.packing import pack

STEP = 16
"""Rows are as wide as the longest of a batch, rounded up to so many tokens."""
Numbers = NDArray[np.int64]


class Part(NamedTuple):
    """A stretch of a document."""

    tokens: Numbers
    """[n + 1]: what is shown, and the target of its last token."""
    learnt: NDArray[np.bool_]
    """[n]: whether what follows each token is learnt."""
    begin: int
    """Its first position in the chat."""
    branch: int
    """0: all of the document behind it sees it; parts of other branches do not see each other."""
    answer: int
    """2 n: of the chosen answer of the batch's pair n, 2 n + 1: of its rejected one; -1: of both."""


def parts_of(shards: Shards, pair: int, place: int, share: bool) -> list[list[Part]]:
    """The documents of a pair of the split, the batch's pair number `place`: one that shares the prompt, or two."""
    chats = []
    for chat in (2 * pair, 2 * pair + 1):
        tokens = shards.document(chat)
        chats.append((tokens, shards.mask_at(int(shards.offsets[chat]), len(tokens))[1:]))
    if not share:
        return [[Part(tokens, learnt, 0, 0, 2 * place + side)] for side, (tokens, learnt) in enumerate(chats)]
    (prompt, learnt), _ = chats
    cut = int(np.flatnonzero(learnt)[0])  # the place of the prompt's last token
    document = [Part(prompt[: cut + 1], learnt[:cut], 0, 0, -1)] if cut else []
    document += [
        Part(tokens[cut:], learnt[cut:], cut, side + 1, 2 * place + side) for side, (tokens, learnt) in enumerate(chats)
    ]
    return [document]


def inputs_of(
    shards: Shards, pairs: Sequence[int], sequence: int, device: torch.device, *, share: bool
) -> dict[str, Tensor]:
    """What `Preference.forward` takes of these pairs but the reference: [rows, width] each, and the documents' borders.
    Rows have at most `sequence` tokens, or as many as a pair that has more."""
    documents = [document for place, pair in enumerate(pairs) for document in parts_of(shards, pair, place, share)]
    lengths = [sum(len(part.learnt) for part in document) for document in documents]
    room = max(sequence, *lengths)
    rows = pack(lengths, room, 0)
    longest = max(sum(lengths[place] for place in row) for row in rows)
    shape = (len(rows), min(room, -(-longest // STEP) * STEP))
    made = {"tokens": np.full(shape, shards.eos, np.int64), "targets": np.full(shape, IGNORE, np.int64),
            "positions": np.zeros(shape, np.int64), "branches": np.zeros(shape, np.int64),
            "answers": np.full(shape, -1, np.int64)}  # fmt: skip
    borders = []
    for number, row in enumerate(rows):
        at = 0
        for place in row:
            borders.append(number * shape[1] + at)
            for part in documents[place]:
                span = (number, slice(at, at := at + len(part.learnt)))
                made["tokens"][span] = part.tokens[:-1]
                made["targets"][span] = np.where(part.learnt, part.tokens[1:], IGNORE)
                made["positions"][span] = part.begin + np.arange(len(part.learnt))
                made["branches"][span], made["answers"][span] = part.branch, part.answer
        if at < shape[1]:
            borders.append(number * shape[1] + at)
            made["positions"][number, at:] = np.arange(shape[1] - at)
    if not share:
        del made["branches"]

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    values = {name: tensor(array) for name, array in made.items()}
    return values | {"cu_seqlens": tensor(np.array([*borders, shape[0] * shape[1]], np.int32))}
