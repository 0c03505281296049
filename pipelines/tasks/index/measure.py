"""How good an index is: whether the right chunk is among the first, by vectors, by words, by both, and reranked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base.errors import BadItem
from data.index.store import MODES, Way
from pipelines.tasks.index.answers import judged
from pipelines.tasks.index.questions import Question, questions, sentences
from pipelines.tasks.index.searched import Searched
from pipelines.tasks.index.threshold import best
from pipelines.tasks.interface import Measured, Primary

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PRIMARY = Primary("test.recall_at_1", "higher", "baselines.random_recall_at_1")
DEPTH = 10
CUTS = (1, 5, 10)
VALUES = (*(f"recall_at_{cut}" for cut in CUTS), "ndcg_at_10")


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path, given: Mapping[str, Path]) -> Measured:
    """See the module. `given`: the bundles that the recipe uses, by role. Raises MetrolineError: a question longer than
    the embedder takes, and what `answers` raises."""
    index = Searched(checkpoint)
    asked = questions(prepared, "test")
    if recipe.evaluate.questions and len(asked) > recipe.evaluate.questions:
        drawn = np.random.default_rng(recipe.evaluate.seed).permutation(len(asked))[: recipe.evaluate.questions]
        asked = [asked[place] for place in sorted(drawn.tolist())]
    people = list(asked)
    asked = asked or sentences(index.passages, recipe.evaluate.sentences, index.embedder)
    queries = embedded(index, asked)
    ways: tuple[Way, ...] = (*MODES, "reranked") if index.reranker else MODES
    values = {way: quality(ranks(index, asked, queries, way)) for way in ways}
    random = [sum(question.answered(index.passages, number) for number in range(len(index.passages)))
              for question in asked]  # fmt: skip
    test: dict[str, float | int] = {
        **values[index.way],
        "exact_recall": exact_recall(index, queries[: recipe.evaluate.exact]),
        "questions": len(asked), "chunks": len(index.passages), "documents": len(index.passages.sources),
        "threshold": index.config["threshold"],
    }  # fmt: skip
    if people:
        whole, without = best(index, asked, queries)
        test["answered_share"] = float((whole >= test["threshold"]).mean())
        test["refused_share"] = float((without < test["threshold"]).mean())
    if "chat" in given:
        test |= judged(index, prepared, people, given["chat"], recipe.evaluate, folder)
    baselines: dict[str, float | int] = {
        f"{way}_{name}": value for way in ways if way != index.way for name, value in values[way].items()
    }
    baselines["random_recall_at_1"] = float(np.mean(random)) / len(index.passages)
    return Measured(test, PRIMARY, baselines)


def embedded(index: Searched, asked: Sequence[Question]) -> list[NDArray[np.float32]]:
    """The questions' vectors. Raises MetrolineError: one is too long."""
    found = []
    for question in asked:
        try:
            found.append(index.embedder.query(question.text))
        except BadItem as error:
            raise type(error)(f"the question {question.text[:60]!r}: {error}") from None
    return found


def ranks(
    index: Searched, asked: Sequence[Question], queries: Sequence[NDArray[np.float32]], way: Way
) -> NDArray[np.float64]:
    """The place of the first of DEPTH chunks that has the answer, from 1, [questions]; infinity: none of them has."""
    places = []
    for question, query in zip(asked, queries, strict=True):
        hits = index.search(question.text, query, DEPTH, way)
        right = (rank for rank, hit in enumerate(hits, 1) if question.answered(index.passages, hit.number))
        places.append(next(right, np.inf))
    return np.array(places, np.float64)


def quality(places: NDArray[np.float64]) -> Mapping[str, float]:
    """recall@k: the share of questions with the answer among the first k chunks; nDCG@10: by the first that has it."""
    recalls = {f"recall_at_{cut}": float((places <= cut).mean()) for cut in CUTS}
    return recalls | {"ndcg_at_10": float((1 / np.log2(places + 1)).mean())}


def exact_recall(index: Searched, queries: Sequence[NDArray[np.float32]]) -> float:
    """The share of the nearest chunks (by all vectors, in float64) that the table's search finds."""
    found = wanted = 0
    for query in queries:
        nearest = index.exact(query, DEPTH)
        found += len({hit.number for hit in index.search("", query, DEPTH, "vector")} & set(nearest))
        wanted += len(nearest)
    return found / wanted
