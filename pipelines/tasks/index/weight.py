"""How much meaning counts beside words in a search by both: chosen on the validation split's questions, never on those
that the index is judged by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.index.store import Hit, fused
from pipelines.tasks.index.questions import Question
from pipelines.tasks.index.searched import Searched

DEFAULT = 0.5
"""Where there are no questions to tell."""
WEIGHTS = tuple(step / 20 for step in range(21))
DEPTH, CUT = 50, 10
"""Chunks of each search; places that nDCG looks at."""


def chosen(index: Searched, asked: Sequence[Question], queries: Sequence[NDArray[np.float32]]) -> float:
    """The weight with the highest nDCG@10 by these questions; of equal ones the nearest to DEFAULT."""
    if not asked:
        return DEFAULT
    totals = dict.fromkeys(WEIGHTS, 0.0)
    for question, query in zip(asked, queries, strict=True):
        near = index.search(question.text, query, DEPTH, "vector")
        words = [Hit(hit.number, hit.score, float(index.vectors[hit.number] @ query))
                 for hit in index.search(question.text, query, DEPTH, "text")]  # fmt: skip
        for weight in WEIGHTS:
            totals[weight] += _gain(index, question, fused(near, words, weight)[:CUT])
    return max(WEIGHTS, key=lambda weight: (round(totals[weight], 9), -abs(weight - DEFAULT)))


def _gain(index: Searched, question: Question, hits: Sequence[Hit]) -> float:
    right = (rank for rank, hit in enumerate(hits, 1) if question.answered(index.passages, hit.number))
    return float(1 / np.log2(next(right, np.inf) + 1))
