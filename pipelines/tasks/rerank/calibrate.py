"""Scores that mean what they say: of documents that BM25 finds for a query of `valid`, the share that answers it.

Platt's scaling (1999): logistic regression of the answer on the network's number. It changes no order.
"""

import numpy as np

from pipelines.tasks.rerank.network import Reranker, scores
from pipelines.tasks.retrieval.collection import Collection

DEPTH = 10
"""Documents of each query."""
LEAST = 1e-2
"""Of the scale: below, the network would know nothing, or the opposite."""


def calibrate(network: Reranker, collection: Collection) -> None:
    """Set the network's `scale` and `shift`; without answers on both sides in `valid` they stay."""
    from sklearn.linear_model import LogisticRegression

    pairs, answers = [], []
    for query in collection.queries("valid"):
        for number in dict.fromkeys((*query.relevant, *query.candidates[:DEPTH])):
            pairs.append((query.tokens, collection.tokens[number]))
            answers.append(number in query.relevant)
    if not 0 < sum(answers) < len(answers):
        return
    found = scores(network, pairs).astype(np.float64)
    fitted = LogisticRegression(C=1e4).fit(found[:, None], np.array(answers))
    network.scale.fill_(max(LEAST, float(fitted.coef_[0, 0])))
    network.shift.fill_(float(fitted.intercept_[0]))
