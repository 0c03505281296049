"""Batches of two sides of texts, and how good vectors are on the validation split: what differs by the data's kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.signature import TextInput
from pipelines.tasks.embedding.imported import Embedder
from pipelines.tasks.embedding.pairs import Pairs, cosines, spearman
from pipelines.tasks.embedding.search import found_first, searched
from pipelines.tasks.retrieval.collection import Collection, Query, Tokens
from pipelines.tasks.retrieval.ranking import ndcg
from pipelines.tasks.supervised.examples import padded
from pipelines.tasks.supervised.predict import predict

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

Arrays = dict[str, NDArray[Any]]
POOL = 10
"""Documents that BM25 finds for a query of valid, searched while training goes on: all would take too long."""


class Sides(Protocol):
    """Examples of two sides; arguments of `Objective`."""

    metric: str
    data_hash: str
    width: int
    """Numbers of a vector."""

    def __len__(self) -> int: ...

    @property
    def judged(self) -> int:
        """Examples of the validation split."""

    def text(self, number: int) -> str:
        """An example's first text."""

    def train(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> Arrays:
        """A batch."""

    def valid(self, size: int) -> Iterator[Arrays]:
        """The validation split in batches."""

    def value(self, network: Embedder) -> float:
        """On the validation split; the network is in evaluation mode."""


class AnsweredSides:
    """Queries and documents that answer them; all other documents of the batch are negatives, BM25's among them."""

    metric = "ndcg_10"

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self.seed, self.task = recipe.train.seed, recipe.task
        self.collection = Collection(prepared)
        self.data_hash, self.width = self.collection.data_hash, self.collection.signature.outputs[0].shape[0]
        self._train = _answers(self.collection.queries("train"))
        self._valid = _answers(self.collection.queries("valid"))
        (declared,) = self.collection.signature.inputs
        assert isinstance(declared, TextInput)
        encode = self.collection.tokenizer.encode
        self._before = encode(declared.query_prefix), encode(declared.document_prefix)

    def __len__(self) -> int:
        return len(self._train)

    @property
    def judged(self) -> int:
        """See `Sides`."""
        return len(self._valid)

    def text(self, number: int) -> str:
        """See `Sides`."""
        return self._train[number][0].text

    def train(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> Arrays:
        """See `Sides`."""
        hard = []
        for epoch, number in zip(epochs.tolist(), examples.tolist(), strict=True):
            pool = np.array(self._train[number][0].negatives[: self.task.pool], np.int64)
            hard.append(np.random.default_rng([self.seed, epoch, number]).permutation(pool)[: self.task.negatives])
        return self._sides([self._train[number] for number in examples.tolist()], hard)

    def valid(self, size: int) -> Iterator[Arrays]:
        """See `Sides`."""
        for at in range(0, len(self._valid), size):
            part = self._valid[at : at + size]
            yield self._sides(part, [np.array(query.negatives[: self.task.negatives]) for query, _ in part])

    def _sides(self, chosen: list[tuple[Query, int]], hard: list[NDArray[np.int64]]) -> Arrays:
        """Answers first, then the hard negatives of all; a document that answers a query is no negative of it, and a
        text that is there twice is none the second time."""
        numbers = [number for _, number in chosen] + [int(number) for each in hard for number in each]
        owners = [query for query, _ in chosen] + [chosen[at][0] for at, each in enumerate(hard) for _ in each]
        shown: list[Tokens] = [self._before[1] + self.collection.shown(query, number)
                               for query, number in zip(owners, numbers, strict=True)]  # fmt: skip
        first = {number: place for place, number in reversed(list(enumerate(numbers)))}
        counted = np.zeros((len(chosen), len(numbers)), bool)
        for row, (query, answer) in enumerate(chosen):
            for column, number in enumerate(numbers):
                counted[row, column] = number not in query.relevant and first[number] == column and number != answer
            counted[row, row] = True
        queries = [self._before[0] + query.tokens for query, _ in chosen]
        return {"first": padded(queries), "second": padded(shown), "counted": counted}

    def value(self, network: Embedder) -> float:
        """nDCG@10 of searching what BM25 finds first for any of them, and what answers them."""
        queries = list({query.text: query for query, _ in self._valid}.values())
        pool = sorted({number for query in queries for number in (*query.relevant, *query.candidates[:POOL])})
        ranked = found_first(*searched(network, self.collection, queries, pool), 10)
        found = [ndcg([pool[place] for place in row], query.relevant)
                 for query, row in zip(queries, ranked.tolist(), strict=True)]  # fmt: skip
        return float(np.mean(found))


class ScoredSides:
    """Pairs of texts, and how alike people found them."""

    metric = "spearman"

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self._train, self._valid = Pairs(prepared, "train"), Pairs(prepared, "valid")
        self._train.records.verify()
        self._valid.records.verify()
        self.data_hash = self._train.records.data_hash
        self.width = self._train.signature.outputs[0].shape[0]

    def __len__(self) -> int:
        return len(self._train)

    @property
    def judged(self) -> int:
        """See `Sides`."""
        return len(self._valid)

    def text(self, number: int) -> str:
        """See `Sides`."""
        return self._train.texts[number][0]

    def train(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> Arrays:
        """See `Sides`."""
        return _scored(self._train, examples.tolist())

    def valid(self, size: int) -> Iterator[Arrays]:
        """See `Sides`."""
        for at in range(0, len(self._valid), size):
            yield _scored(self._valid, list(range(at, min(at + size, len(self._valid)))))

    def value(self, network: Embedder) -> float:
        """Spearman's rank correlation of cosines and scores."""
        arrays = _scored(self._valid, list(range(len(self._valid))))
        vectors = np.stack([predict(network, arrays[name]) for name in ("first", "second")], 1)
        return spearman(cosines(vectors), self._valid.scores)


def _answers(queries: list[Query]) -> list[tuple[Query, int]]:
    return [(query, number) for query in queries for number in sorted(query.relevant)]


def _scored(pairs: Pairs, numbers: list[int]) -> Arrays:
    texts = [pairs.texts[number] for number in numbers]
    first, second = (padded(pairs.tokenizer.encode_batch(list(side))) for side in zip(*texts, strict=True))
    return {"first": first, "second": second, "scores": pairs.scores[numbers].astype(np.float32)}
