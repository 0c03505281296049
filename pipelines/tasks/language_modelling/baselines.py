"""Two baselines that a language model has to beat, on the same test split: bigram counts and xz.

Both say in bits per byte how well the text can be predicted without a neural network. Neither needs torch.
"""

import lzma
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data.text.shards import Shards

CHUNK = 1 << 22  # tokens counted at a time
ALPHAS = (1.0, 10.0, 100.0, 1000.0)


class Bigram:
    """P(b | a) = (c(a b) + α P(b)) / (c(a) + α), with P(b) from add-one smoothed single counts.

    That is Dirichlet-prior smoothing (MacKay and Peto 1995, "A hierarchical Dirichlet language model"). The counts are
    sparse: memory grows with the number of different pairs, not with the vocabulary squared.
    """

    def __init__(self, train: Shards) -> None:
        self.vocab = train.vocab_size
        self.single = np.zeros(self.vocab, dtype=np.int64)
        self.context = np.zeros(self.vocab, dtype=np.int64)
        self.pairs = np.empty(0, dtype=np.int64)
        self.counts = np.empty(0, dtype=np.int64)
        for before, after in _pairs(train):
            self.single += np.bincount(after, minlength=self.vocab)
            self.context += np.bincount(before, minlength=self.vocab)
            pairs, counts = np.unique(before * self.vocab + after, return_counts=True)
            both = np.concatenate([self.pairs, pairs])
            self.pairs, where = np.unique(both, return_inverse=True)
            weights = np.concatenate([self.counts, counts])
            self.counts = np.bincount(where, weights=weights, minlength=len(self.pairs)).astype(np.int64)

    def bits(self, split: Shards, alpha: float) -> float:
        """Bits that coding the whole split takes, ends of documents included."""
        unigram = (self.single + 1) / (self.single.sum() + self.vocab)
        total = 0.0
        for before, after in _pairs(split):
            codes = before * self.vocab + after
            at = np.minimum(np.searchsorted(self.pairs, codes), max(len(self.pairs) - 1, 0))
            seen = np.where(self.pairs[at] == codes, self.counts[at], 0) if len(self.pairs) else np.zeros(len(codes))
            total -= float(np.log2((seen + alpha * unigram[after]) / (self.context[before] + alpha)).sum())
        return total


def bigram_bits_per_byte(train: Shards, valid: Shards | None, test: Shards) -> float:
    """Bits per byte of `test` under bigram counts of `train`; α is the best of `ALPHAS` on `valid`, 100 without it."""
    model = Bigram(train)
    alpha = 100.0
    if valid is not None and valid.total_tokens:
        alpha = min(ALPHAS, key=lambda candidate: model.bits(valid, candidate))
    return model.bits(test, alpha) / test.bytes


def xz_bits_per_byte(texts: Iterable[str], size: int) -> float:
    """Bits per byte after `xz -9e`; documents are joined by a zero byte, so that their ends are coded too.

    `size`: UTF-8 bytes of all texts. Memory: xz's window (64 MiB) and tables, whatever the size of the split.
    """
    compressor = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    compressed = sum(len(compressor.compress(text.encode() + b"\0")) for text in texts)
    return 8 * (compressed + len(compressor.flush())) / size


def _pairs(split: Shards) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(before, after) of neighbouring tokens, in chunks; before the first token stands end-of-text."""
    last = split.eos
    for start in range(0, split.total_tokens, CHUNK):
        after = np.asarray(split.tokens_at(start, min(CHUNK, split.total_tokens - start)), dtype=np.int64)
        yield np.concatenate([[last], after[:-1]]), after
        last = int(after[-1])
