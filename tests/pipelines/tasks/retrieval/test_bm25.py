"""BM25 and nDCG against their formulas, written out."""

import math

import numpy as np
import pytest

from pipelines.tasks.retrieval.bm25 import BM25, K1, B
from pipelines.tasks.retrieval.ranking import ndcg, recall

TEXTS = ["The cat sat.", "the dog and the cat", "a bird, a bird!", ""]


def by_hand(query: str, number: int) -> float:
    documents = [text.lower().replace(".", "").replace(",", "").replace("!", "").split() for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    total = 0.0
    for word in query.split():
        have = sum(word in document for document in documents)
        count = documents[number].count(word)
        idf = math.log(1 + (len(documents) - have + 0.5) / (have + 0.5))
        total += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * len(documents[number]) / mean))
    return total


@pytest.mark.parametrize("query", ["cat", "the cat", "the the bird", "fish", ""])
def test_scores_are_those_of_the_formula(query: str) -> None:
    index = BM25(TEXTS)
    found = index.scores(query)
    np.testing.assert_allclose(found, [by_hand(query, number) for number in range(4)], atol=1e-12)
    best = index.top(query, 2).tolist()
    assert best == [number for number in np.argsort(-found, kind="stable").tolist() if found[number] > 0][:2]


def test_ndcg_and_recall() -> None:
    assert ndcg([3, 1, 2], {3, 1}) == 1
    assert ndcg([2, 3], {3}) == pytest.approx(1 / math.log2(3))
    assert ndcg([5, 3, 6, 1], {3, 1, 9}) == pytest.approx(
        (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2)
    )
    assert ndcg([], {3}) == 0
    assert ndcg(list(range(20)), {15}) == 0
    assert recall([1, 2, 3], {1, 9}) == 0.5
    assert recall(list(range(20)), {15}, 16) == 1
