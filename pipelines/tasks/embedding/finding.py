"""Embeddings that find documents, judged on the test split by searching all of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base.files import read_object, write_json
from data.drift import reference
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.embedding.imported import Embedder, read
from pipelines.tasks.embedding.search import cut, found_first, searched
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.retrieval.collection import Collection, Query, Tokens
from pipelines.tasks.retrieval.ranking import ndcg, recall

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PRIMARY = Primary("test.ndcg_10", "higher", "baselines.bm25_ndcg_10")
DEPTH, DEEP = 10, 100
Sides = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Vectors of queries and of documents."""


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
    """See the module. Floors: BM25, and the mean of the vectors of a text's tokens before the first layer."""
    collection, resamples = Collection(prepared), recipe.evaluate.resamples
    queries, everything = collection.queries("test"), range(len(collection.texts))
    network = read(recipe, prepared, checkpoint)
    sides = searched(network, collection, queries, everything)
    found = found_first(*sides, DEEP)
    own = _ndcg(queries, found)
    bm25 = np.array([ndcg(query.candidates, query.relevant) for query in queries])
    rows = np.arange(len(queries))
    low, high = interval(lambda rows: float(own[rows].mean()), rows, resamples)
    base: dict[str, float | int] = {}
    better = bm25
    if first is not None and recipe.evaluate.first and "began_with" in read_object(checkpoint / "training.json"):
        began = searched(read(recipe, prepared, first), collection, queries, everything)
        before = _ndcg(queries, found_first(*began, DEPTH))
        base = {"ndcg_10": float(before.mean())}
        better = before if before.mean() > bm25.mean() else bm25
    least, most = interval(lambda rows: float((own - better)[rows].mean()), rows, resamples)
    values: dict[str, float | int] = {
        "ndcg_10": float(own.mean()), "ndcg_10_low": low, "ndcg_10_high": high,
        "recall_100": float(np.mean([recall(row, query.relevant, DEEP) for row, query in zip(found.tolist(), queries,
                                                                                             strict=True)])),
        "gain": float((own - better).mean()), "gain_low": least, "gain_high": most, "queries": len(queries),
    }  # fmt: skip
    for size in recipe.task.dimensions:
        values[f"ndcg_10_of_{size}"] = float(_ndcg(queries, found_first(*_cut(sides, size), DEPTH)).mean())
    words = found_first(*_words(network, collection, queries), DEPTH)
    floors = {"bm25_ndcg_10": float(bm25.mean()), "words_ndcg_10": float(_ndcg(queries, words).mean())}
    tokens = [query.tokens for query in queries] + collection.tokens
    drift = reference(collection.signature, ((np.array(each),) for each in tokens),
                      ((row,) for row in np.concatenate(sides)))  # fmt: skip
    write_json(folder / "reference.json", drift)
    return Measured(values, PRIMARY, floors, base=base)


def _cut(sides: Sides, size: int) -> Sides:
    return cut(sides[0], size), cut(sides[1], size)


def _ndcg(queries: list[Query], found: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([ndcg(row, query.relevant) for row, query in zip(found.tolist(), queries, strict=True)])


def _words(network: Embedder, collection: Collection, queries: list[Query]) -> Sides:
    """Queries and documents as the mean of their tokens' vectors before the first layer, of length 1."""
    table = network.body.embedding.weight.detach().numpy()  # type: ignore[union-attr, operator]

    def mean(rows: list[Tokens]) -> NDArray[np.float32]:
        made = np.stack([table[row].mean(0) for row in rows])
        return cut(made, made.shape[1])

    return mean([query.tokens for query in queries]), mean(collection.tokens)
