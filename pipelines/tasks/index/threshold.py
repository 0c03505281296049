"""From which cosine on a question has something to do with the documents.

The threshold is the cosine of the best chunk that all but LOST of the validation split's questions have: so many are
told wrongly that the documents say nothing. How many questions it rightly turns away is measured on the test split, by
asking each of all documents but its own.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.index.passages import Passages
from pipelines.tasks.index.questions import Question

LOST = 0.05
DEFAULT = 0.25
"""Where there are no questions to tell: by MiniLM 99 % of XQuAD's have a nearer paragraph (benchmarks/rag.py)."""


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


def calibrated(queries: Sequence[NDArray[np.float32]], vectors: NDArray[np.float32]) -> float:
    """The threshold by these questions' vectors; DEFAULT where there are none."""
    if not queries:
        return DEFAULT
    return float(np.quantile([float((vectors @ query).max()) for query in queries], LOST))
