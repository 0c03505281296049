"""From which cosine on a question has something to do with the documents.

A question of the validation split is one that they answer. Asked of all documents but its own it is one that they do
not. The threshold is the cosine of the best chunk that tells the two apart best (the largest sum of both shares,
Youden 1950).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.index.passages import Passages
from pipelines.tasks.index.questions import Question

DEFAULT = 0.25
"""Where there are no questions to tell: of MiniLM over XQuAD's paragraphs, rounded down (benchmarks/rag.py)."""


def best(
    asked: Sequence[Question], queries: Sequence[NDArray[np.float32]], vectors: NDArray[np.float32], passages: Passages
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best cosine of each question, with all documents and without its own, [questions] each."""
    documents = np.array([passages.document(number) for number in range(len(passages))])
    whole, without = np.zeros(len(asked)), np.zeros(len(asked))
    for place, (question, query) in enumerate(zip(asked, queries, strict=True)):
        cosines = vectors @ query
        whole[place] = cosines.max()
        without[place] = cosines[documents != question.document].max(initial=-1.0)
    return whole, without


def calibrated(
    asked: Sequence[Question], queries: Sequence[NDArray[np.float32]], vectors: NDArray[np.float32], passages: Passages
) -> float:
    """The threshold; DEFAULT where nothing was asked."""
    if not asked:
        return DEFAULT
    whole, without = best(asked, queries, vectors, passages)
    candidates = np.unique(np.concatenate([whole, without]))
    gains = [(whole >= each).mean() + (without < each).mean() for each in candidates]
    return float(candidates[int(np.argmax(gains))])
