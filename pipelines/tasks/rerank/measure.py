"""Judge a reranker on the test split: what BM25 finds, in the reranker's order, against BM25's own."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base.files import write_json
from data.drift import reference
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.rerank.network import read, scores
from pipelines.tasks.retrieval.collection import Collection, Query
from pipelines.tasks.retrieval.ranking import ndcg, recall

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PRIMARY = Primary("test.ndcg_10", "higher", "baselines.bm25_ndcg_10")


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    collection = Collection(prepared)
    network = read(recipe, collection.index, checkpoint)
    queries, depth = collection.queries("test"), recipe.evaluate.depth
    found = [query.candidates[:depth] for query in queries]
    pairs = [(query, number) for query, numbers in zip(queries, found, strict=True) for number in numbers]
    given = scores(network, [(query.tokens, collection.tokens[number]) for query, number in pairs])
    parts = np.split(given, np.cumsum([len(numbers) for numbers in found])[:-1])
    own = gains(queries, [ordered(*each) for each in zip(found, parts, strict=True)])
    bm25 = gains(queries, found)
    best = gains(queries, [sorted(numbers, key=lambda number, query=query: number not in query.relevant)  # type: ignore[misc]
                           for query, numbers in zip(queries, found, strict=True)])  # fmt: skip
    rows = np.arange(len(queries))
    low, high = interval(lambda rows: float(own[rows].mean()), rows, recipe.evaluate.resamples)
    least, most = interval(lambda rows: float((own - bm25)[rows].mean()), rows, recipe.evaluate.resamples)
    values = {
        "ndcg_10": float(own.mean()), "ndcg_10_low": low, "ndcg_10_high": high,
        "gain": float((own - bm25).mean()), "gain_low": least, "gain_high": most,
        "found": float(np.mean([recall(numbers, query.relevant, depth) for query, numbers in zip(queries, found,
                                                                                                 strict=True)])),
        "queries": len(queries), "pairs": len(pairs),
    }  # fmt: skip
    write_json(
        folder / "reference.json", _drift(collection, pairs, given * float(network.scale) + float(network.shift))
    )
    return Measured(values, PRIMARY, {"bm25_ndcg_10": float(bm25.mean()), "perfect_ndcg_10": float(best.mean())})


def gains(queries: list[Query], ranked: "list[tuple[int, ...]] | list[list[int]]") -> NDArray[np.float64]:
    """nDCG@10 of each query's documents in this order."""
    return np.array([ndcg(numbers, query.relevant) for query, numbers in zip(queries, ranked, strict=True)])


def ordered(numbers: tuple[int, ...], given: NDArray[np.float32]) -> list[int]:
    """Documents by their scores, the best first; equal ones as they were."""
    return [numbers[place] for place in np.argsort(-given, kind="stable").tolist()]


def _drift(collection: Collection, pairs: list[tuple[Query, int]], logits: NDArray[np.float32]) -> dict[str, object]:
    """The distributions that a server compares its own with."""
    inputs = ((np.array(query.tokens), np.array(collection.tokens[number])) for query, number in pairs)
    likely = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return reference(collection.signature, inputs, ((np.array([1 - each, each]),) for each in likely.tolist()))
