"""Documents as windows of tokens, each of one document alone. NumPy only."""

import numpy as np
from numpy.typing import NDArray

from data.text.shards import Shards


class Windows:
    """A split cut into windows of at most `width` tokens, without what the tokenizer puts around a text."""

    def __init__(self, shards: Shards, width: int) -> None:
        self.shards, self.width = shards, width
        offsets = np.asarray(shards.offsets)
        begins, ends = offsets[:-1] + len(shards.first), offsets[1:] - 1  # the last token is the document's end
        counts = -(-(ends - begins) // width)
        self._begin, self._end = np.repeat(begins, counts), np.repeat(ends, counts)
        self._number = np.arange(len(self._begin)) - np.repeat(np.cumsum(counts) - counts, counts)

    def __len__(self) -> int:
        return len(self._begin)

    def tokens(self, example: int) -> NDArray[np.int64]:
        """One window, [1 to width]: together they are the split, each token once."""
        start = self.start(example, 0)
        return self.shards.tokens_at(start, min(self.width, int(self._end[example]) - start))

    def shifted(self, example: int, shift: int) -> NDArray[np.int64]:
        """The window, `shift` tokens later; a document's last one ends with it, and is as long as all others."""
        begin, end = int(self._begin[example]), int(self._end[example])
        start = max(begin, min(self.start(example, shift), end - self.width))
        return self.shards.tokens_at(start, min(self.width, end - start))

    def start(self, example: int, shift: int) -> int:
        """Where a window begins in the split's row of tokens."""
        return int(self._begin[example] + self._number[example] * self.width) + shift
