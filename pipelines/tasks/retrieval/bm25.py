"""BM25 (Robertson and Zaragoza 2009) over words: what finds documents without any learning.

    index = BM25(["a text", "another"])
    index.scores("which text?")          # float64 [documents]
    index.top("which text?", 10)         # their numbers, the best first

Words are runs of letters, digits and `_`, in lower case; none is left out and none is stemmed.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

K1, B = 0.9, 0.4
"""As Anserini has them: how soon a word that comes again counts no more, how much long documents are damped."""
WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return WORD.findall(text.lower())


class BM25:
    """Documents by their words."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._codes: dict[str, int] = {}
        rows, columns = [], []
        for number, text in enumerate(texts):
            for word in words(text):
                rows.append(number)
                columns.append(self._codes.setdefault(word, len(self._codes)))
        shape = (len(texts), max(1, len(self._codes)))
        counts = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape)  # equal places are summed
        lengths = np.asarray(counts.sum(1)).reshape(-1)
        found = np.bincount(counts.indices, minlength=shape[1])  # documents that have each word
        idf = np.log(1 + (len(texts) - found + 0.5) / (found + 0.5))
        damped = K1 * (1 - B + B * lengths / max(1e-9, lengths.mean() if len(texts) else 1.0))
        weights = counts.tocoo()
        made = idf[weights.col] * weights.data * (K1 + 1) / (weights.data + damped[weights.row])
        self._weights = sparse.csc_matrix((made, (weights.row, weights.col)), shape)

    def scores(self, query: str) -> NDArray[np.float64]:
        """How well each document fits, [documents]; a word that the query has twice counts twice."""
        total = np.zeros(self._weights.shape[0])
        for word in words(query):
            if (code := self._codes.get(word)) is not None:
                begin, end = self._weights.indptr[code], self._weights.indptr[code + 1]
                total[self._weights.indices[begin:end]] += self._weights.data[begin:end]
        return total

    def top(self, query: str, most: int) -> NDArray[np.int64]:
        """The numbers of at most so many documents that share a word with the query, the best first; of equals the one
        that comes first."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:most]
        return order[scores[order] > 0]
