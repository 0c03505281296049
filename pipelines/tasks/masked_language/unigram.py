"""How often each token stands in the train split: the floor of masked-language models, and where they begin."""

import numpy as np
from numpy.typing import NDArray

from data.text.shards import Shards
from data.text.tokenizer import Tokenizer

CHUNK = 1 << 22  # tokens counted at a time


def unigram(train: Shards, tokenizer: Tokenizer) -> NDArray[np.float64]:
    """Shares [V] that sum to 1, add-one smoothed; special tokens are never hidden, and count as not seen."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for start in range(0, train.total_tokens, CHUNK):
        part = train.tokens_at(start, min(CHUNK, train.total_tokens - start))
        counts += np.bincount(part, minlength=len(counts))
    counts[list(tokenizer.special.values())] = 0
    return (counts + 1) / (counts + 1).sum()
