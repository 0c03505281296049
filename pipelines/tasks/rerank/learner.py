"""What the trainer needs for a reranker: each query with a document that answers it among some that do not.

The loss is cross-entropy over each such group (Gao et al. 2021, arXiv:2101.08751): which one is it?
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from base.errors import MetrolineError
from pipelines.tasks.interface import Batch
from pipelines.tasks.learning import enough
from pipelines.tasks.rerank.calibrate import calibrate
from pipelines.tasks.rerank.network import Reranker, read, save
from pipelines.tasks.retrieval.collection import Collection, Query, Tokens
from pipelines.tasks.supervised.examples import padded

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

VALIDATION = 16  # groups in one forward pass over the validation split
Example = tuple[Query, int]
"""A query and the number of a document that answers it."""


class GroupLoss(nn.Module):
    """Groups of `size` pairs, the one that fits first → the sum over groups of cross-entropy in nats."""

    def __init__(self, network: Reranker, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, query: Tensor, document: Tensor, seed: Tensor | None = None) -> Tensor:
        """Tokens [groups · size, ...]; dropout in training mode only."""
        logits = self.network(query, document, seed if self.training else None).unflatten(0, (-1, self.size))
        zeros = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        return functional.cross_entropy(logits, zeros, reduction="sum")


class Learner:
    """`pipelines.tasks.interface.Learner`. Raises MetrolineError: no prepared data, damaged, less than one batch, or a
    query that all documents answer."""

    outer = ()

    def __init__(self, recipe: "Recipe", prepared: Path, files: Path | None) -> None:
        self.recipe, self.files, self.task = recipe, files, recipe.task
        self.collection = Collection(prepared)
        self.data_hash = self.collection.data_hash
        self.train = _examples(self.collection.queries("train"))
        self.valid = _examples(self.collection.queries("valid"))
        self.examples = len(self.train)
        enough(self.examples, recipe.train.batch, "answers")
        if query := next((each for each, _ in (*self.train, *self.valid) if not self._others(each)), None):
            raise MetrolineError(f"all documents answer {query.text[:60]!r}", hint="it learns from some that do not")
        self.active = 0

    def network(self, generator: torch.Generator) -> Reranker:
        """The network with the weights of others."""
        assert self.files is not None
        return read(self.recipe, self.collection.index, self.files, generator)

    def objective(self, network: nn.Module) -> GroupLoss:
        """See `GroupLoss`."""
        assert isinstance(network, Reranker)
        sizes = {name: weight.numel() for name, weight in network.named_parameters() if "embedding" not in name}
        self.active = sum(sizes.values())
        return GroupLoss(network, 1 + self.task.negatives)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These examples, each with other negatives in every epoch."""
        groups = []
        for epoch, number in zip(epochs.tolist(), examples.tolist(), strict=True):
            query, answer = self.train[number]
            generator = np.random.default_rng([self.recipe.train.seed, epoch, number])
            groups.append((query, [answer, *self._drawn(query, generator)]))
        return self._batch(groups, device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All of the validation split, each answer among what BM25 finds first."""
        count = self.task.negatives
        groups = []
        for number, (query, answer) in enumerate(self.valid):
            found = list(query.negatives[:count])
            generator = np.random.default_rng(number)
            groups.append((query, [answer, *found, *self._any(query, count - len(found), generator)]))
        for at in range(0, len(groups), VALIDATION):
            yield self._batch(groups[at : at + VALIDATION], device)

    def _drawn(self, query: Query, generator: np.random.Generator) -> list[int]:
        pool = np.array(query.negatives[: self.task.pool], np.int64)
        found: list[int] = generator.permutation(pool)[: self.task.negatives].tolist()
        return found + self._any(query, self.task.negatives - len(found), generator)

    def _others(self, query: Query) -> int:
        """How many documents do not answer it."""
        return len(self.collection.texts) - len(query.relevant)

    def _any(self, query: Query, count: int, generator: np.random.Generator) -> list[int]:
        """So many of all documents that do not answer it, where BM25 found too few."""
        found: list[int] = []
        while len(found) < count:
            number = int(generator.integers(len(self.collection.texts)))
            found += [number] if number not in query.relevant else []
        return found

    def _batch(self, groups: Sequence[tuple[Query, list[int]]], device: torch.device) -> Batch:
        queries: list[Tokens] = [query.tokens for query, numbers in groups for _ in numbers]
        most = self.task.tokens
        documents = [self.collection.shown(query, number)[:most] for query, numbers in groups for number in numbers]
        arrays = {"query": padded(queries), "document": padded(documents)}
        tokens = sum(map(len, queries)) + sum(map(len, documents))
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(groups), 6.0 * self.active * tokens)

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """The first few queries."""
        few = ", ".join(repr(self.train[number][0].text[:40]) for number in examples[:4].tolist())
        return f"{len(examples)} queries of train: {few}{', …' if len(examples) > 4 else ''}"

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a Hugging Face folder, calibrated on the validation split."""
        assert isinstance(network, Reranker)
        calibrate(network.eval(), self.collection)
        save(network, self.collection.prepared, folder)


def _examples(queries: Sequence[Query]) -> list[Example]:
    return [(query, number) for query in queries for number in sorted(query.relevant)]
