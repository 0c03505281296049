"""An embedder that finds documents as the `forward` engine runs it; `exportable` is that of pairs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.embedding.finding import DEPTH, PRIMARY
from pipelines.tasks.embedding.imported import read
from pipelines.tasks.embedding.search import found_first
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.retrieval.collection import Collection, Tokens
from pipelines.tasks.retrieval.ranking import ndcg
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are queries spread over the test split; a form is judged by how it orders
    what BM25 finds first."""
    collection = Collection(prepared)
    test, (declared,), output = collection.queries("test"), collection.signature.inputs, collection.signature.outputs[0]

    def array(tokens: Tokens) -> dict[str, NDArray[Any]]:
        return {declared.name: np.array([tokens], np.int64)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        queries = test if split == "test" else collection.queries(split)
        for turn, place in enumerate(some(len(queries), most).tolist()):
            query = queries[place]
            yield array(collection.tokens[min(query.relevant)] if turn % 2 else query.tokens)

    def quality(run: Predict, most: int) -> dict[str, float]:
        kept = [test[place] for place in some(len(test), max(1, most // (1 + DEPTH))).tolist()]
        found, texts = [], 0
        for query in kept:
            numbers = query.candidates[:DEPTH]
            rows = [query.tokens, *(collection.tokens[number] for number in numbers)]
            vectors = np.concatenate([run(array(tokens))[output.name] for tokens in rows])
            order = found_first(vectors[:1], vectors[1:], DEPTH)[0].tolist()
            found.append(ndcg([numbers[place] for place in order], query.relevant))
            texts += len(rows)
        return {"ndcg_10": float(np.mean(found)), "items": texts}

    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))
    return Forward(
        model=read(recipe, prepared, checkpoint),
        pre=None,
        golden=tuple((test[int(place)].text.encode(),) for place in places),
        decode=lambda raw: array(collection.tokenizer.encode(raw[0].decode())),
        examples=examples,
        quality=quality,
        primary=PRIMARY,
        signature=collection.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )
