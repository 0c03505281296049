"""From which score on a question has something to do with the documents.

The score is the best chunk's by the reranker, or a cosine where the index has none. The threshold is what all but LOST
of the validation split's questions have: so many are told wrongly that the documents say nothing. How many questions it
rightly turns away is measured on the test split, by asking each of all documents but its own.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.index.store import Hit
from pipelines.tasks.index.questions import Question
from pipelines.tasks.index.searched import Searched

LOST = 0.05
DEFAULT = 0.25
"""Without questions to tell, of a cosine: by MiniLM 99 % of XQuAD's have a nearer paragraph (benchmarks/rag.py)."""
DEFAULT_RERANKED = 0.05
"""The same of a reranker's probability."""
WIDER = 2
"""Times the candidates among which those of other documents are looked for."""


def best(
    index: Searched, asked: Sequence[Question], queries: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best score of each question, with all documents and without its own, [questions] each."""
    pairs = [_reranked(index, *each) if index.reranker else _cosines(index, *each)
             for each in zip(asked, queries, strict=True)]  # fmt: skip
    whole, without = np.array(pairs, np.float64).reshape(-1, 2).T
    return whole, without


def calibrated(index: Searched, asked: Sequence[Question], queries: Sequence[NDArray[np.float32]]) -> float:
    """The threshold by these questions; a default where there are none."""
    if not asked:
        return DEFAULT_RERANKED if index.reranker else DEFAULT
    return float(np.quantile(best(index, asked, queries)[0], LOST))


def _cosines(index: Searched, question: Question, query: NDArray[np.float32]) -> tuple[float, float]:
    cosines = index.vectors @ query
    return float(cosines.max()), float(cosines[index.documents != question.document].max(initial=-1.0))


def _reranked(index: Searched, question: Question, query: NDArray[np.float32]) -> tuple[float, float]:
    count: int = index.config["candidates"]
    found = index.store.search(query, question.text, WIDER * count, "hybrid")
    others = [hit for hit in found if index.documents[hit.number] != question.document][:count]
    scores = {hit.number: hit.score for hit in index.reranked(question.text, list({*found[:count], *others}))}
    return _highest(scores, found[:count]), _highest(scores, others)


def _highest(scores: dict[int, float], hits: Sequence[Hit]) -> float:
    return max((scores[hit.number] for hit in hits), default=0.0)
