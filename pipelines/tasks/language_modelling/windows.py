"""How a split is cut into windows to be scored, so that every token is scored exactly once.

Each document stands alone and starts from the end-of-text token, so a score depends on no other document. A document
longer than the context is read in overlapping windows: the first scores all its tokens, each later one only its last
`stride` tokens, the rest being context (https://huggingface.co/docs/transformers/perplexity). NumPy only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.text.shards import Shards


@dataclass(frozen=True)
class Window:
    """Scores targets `first` to `last` (of the split's tokens), having seen the inputs from `start`."""

    start: int  # the first target whose input is shown; the input before a document's first token is end-of-text
    first: int
    last: int  # exclusive

    @property
    def length(self) -> int:
        """Tokens shown."""
        return self.last - self.start


def cut(offsets: NDArray[np.int64], context: int, stride: int, given: int = 0) -> list[Window]:
    """The windows of documents that begin at `offsets` [documents + 1]; `stride` ≤ `context`, both in tokens.

    `given`: how many tokens open each document that are shown and not scored, as they come with every text.
    """
    windows = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        begin, first = begin + min(given, 1), begin + given
        last = min(begin + context, end)
        if last > first:
            windows.append(Window(begin, first, last))
        while last < end:
            first, last = last, min(last + stride, end)
            windows.append(Window(max(last - context, begin), first, last))
    return windows


def batches(windows: list[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Group windows of similar length, longest first, so that a padded batch holds about `batch_tokens` tokens."""
    ordered = sorted(windows, key=lambda window: (-window.length, window.first))
    start = 0
    while start < len(ordered):
        rows = max(1, batch_tokens // ordered[start].length)
        yield ordered[start : start + rows]
        start += rows


def tokens_of(batch: list[Window], shards: Shards, begins: frozenset[int]) -> tuple[NDArray, NDArray]:
    """Inputs and targets, int64 [rows, longest]; padding is end-of-text on the right, its targets are -100.

    So are the targets before a window's `first`. `begins`: where documents begin.
    """
    shape = (len(batch), max(window.length for window in batch))
    inputs = np.full(shape, shards.eos, dtype=np.int64)
    targets = np.full(shape, -100, dtype=np.int64)
    for row, window in enumerate(batch):
        fresh = window.start in begins
        text = shards.tokens_at(window.start - (not fresh), window.length + (not fresh))
        inputs[row, int(fresh) : window.length] = text[:-1]
        scored = window.last - window.first
        targets[row, window.length - scored : window.length] = text[len(text) - scored :]
    return inputs, targets
