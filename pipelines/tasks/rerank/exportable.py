"""A reranker as the `forward` engine runs it: the pair's frame and the probability inside the graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.codecs import decode
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.rerank.measure import PRIMARY, gains, ordered
from pipelines.tasks.rerank.network import Answers, read
from pipelines.tasks.retrieval.collection import Collection, Query
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

DEPTH = 10
"""Documents of each query that a form is judged on."""


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are pairs of queries spread over the test split, by turns with a document
    that answers and with one that BM25 finds and nobody said to answer."""
    collection = Collection(prepared)
    test, (first, second) = collection.queries("test"), collection.signature.inputs
    output = collection.signature.outputs[0].name

    def arrays(query: Query, number: int) -> dict[str, NDArray[Any]]:
        pair = zip((first, second), (query.tokens, collection.tokens[number]), strict=True)
        return {declared.name: np.array([tokens], np.int64) for declared, tokens in pair}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        queries = test if split == "test" else collection.queries(split)
        for place in some(len(queries), most).tolist():
            yield arrays(queries[place], _shown(queries[place], place))

    def quality(run: Predict, most: int) -> dict[str, float]:
        kept = [test[place] for place in some(len(test), max(1, most // DEPTH)).tolist()]
        ranked, pairs = [], 0
        for query in kept:
            numbers = query.candidates[:DEPTH]
            given = [run(arrays(query, number))[output][0, 1] for number in numbers]
            ranked.append(ordered(numbers, np.array(given, np.float32)))
            pairs += len(numbers)
        return {"ndcg_10": float(gains(kept, ranked).mean()), "items": pairs}

    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64)).tolist()
    golden = [(test[place], _shown(test[place], turn)) for turn, place in enumerate(places)]
    return Forward(
        model=Answers(read(recipe, collection.index, checkpoint)).eval(),
        pre=None,
        golden=tuple((query.text.encode(), collection.texts[number].encode()) for query, number in golden),
        decode=lambda raw: {
            declared.name: decode(declared, text, collection.tokenizer)[None]
            for declared, text in zip((first, second), raw, strict=True)
        },
        examples=examples,
        quality=quality,
        primary=PRIMARY,
        signature=collection.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )


def _shown(query: Query, turn: int) -> int:
    """A document that answers, by turns with one that does not."""
    return query.negatives[0] if turn % 2 and query.negatives else min(query.relevant)
