"""How good a ranking is: nDCG and recall of judged documents (Järvelin and Kekäläinen 2002)."""

from collections.abc import Collection, Sequence

import numpy as np


def ndcg(ranked: Sequence[int], relevant: Collection[int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `depth` documents, 0 to 1; each is relevant or not.
    `relevant` must not be empty."""
    gains = 1 / np.log2(np.arange(2, depth + 2))
    got = sum(gain for gain, document in zip(gains, ranked, strict=False) if document in relevant)
    return float(got / gains[: len(relevant)].sum())


def recall(ranked: Sequence[int], relevant: Collection[int], depth: int = 10) -> float:
    """How much of `relevant` is among the first `depth`."""
    return len(set(ranked[:depth]) & set(relevant)) / len(relevant)
