"""What the trainer needs for embeddings: queries with a document that answers each, or pairs that people scored."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from base.errors import MetrolineError
from pipelines.tasks.embedding.imported import Embedder, read, save
from pipelines.tasks.embedding.objective import Objective
from pipelines.tasks.embedding.sides import AnsweredSides, ScoredSides, Sides
from pipelines.tasks.interface import Batch
from pipelines.tasks.learning import enough

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


class Trained:
    """`pipelines.tasks.interface.Learner`, `Judged` by nDCG@10 or rank correlation on the validation split. Raises
    MetrolineError: no prepared data, damaged, less than one batch, no validation split."""

    outer = ()
    better: Literal["higher"] = "higher"

    def __init__(self, recipe: "Recipe", prepared: Path, files: Path | None) -> None:
        self.recipe, self.prepared, self.files = recipe, prepared, files
        sides: Sides = (AnsweredSides if recipe.data.kind == "judged" else ScoredSides)(recipe, prepared)
        self.sides, self.metric = sides, sides.metric
        self.data_hash, self.examples = sides.data_hash, len(sides)
        self.active, self.width = 0, 0
        enough(self.examples, recipe.train.batch, "examples")
        if not sides.judged:
            raise MetrolineError("the validation split is empty", hint="embeddings are judged on it: see split.valid")

    def network(self, generator: torch.Generator) -> Embedder:
        """The network with the weights of others."""
        assert self.files is not None
        return read(self.recipe, self.prepared, self.files, generator)

    def objective(self, network: nn.Module) -> Objective:
        """See `Objective`. Raises MetrolineError: more dimensions than a vector has."""
        assert isinstance(network, Embedder)
        self.active = sum(weight.numel() for name, weight in network.named_parameters() if "embedding" not in name)
        task = self.recipe.task
        return Objective(network, task.chunk, (*task.dimensions, self.sides.width))

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These examples; hard negatives are others in every epoch."""
        return self._batch(self.sides.train(epochs, examples), device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All of the validation split, in batches like those of training."""
        for arrays in self.sides.valid(self.recipe.train.batch):
            yield self._batch(arrays, device)

    def value(self, network: nn.Module, device: torch.device) -> float:
        """nDCG@10, or Spearman's rank correlation, on the validation split."""
        assert isinstance(network, Embedder)
        return self.sides.value(network)

    def _batch(self, arrays: dict[str, NDArray[Any]], device: torch.device) -> Batch:
        tokens = sum(int((arrays[name] != 0).sum()) for name in ("first", "second"))
        again = 8.0 if self.recipe.task.chunk else 6.0  # the forward pass runs twice
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(arrays["first"]), again * self.active * tokens)

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """The first few texts."""
        few: Sequence[str] = [repr(self.sides.text(number)[:40]) for number in examples[:4].tolist()]
        return f"{len(examples)} examples of train: {', '.join(few)}{', …' if len(examples) > 4 else ''}"

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a Hugging Face folder that `transformers.AutoModel` loads."""
        assert isinstance(network, Embedder)
        save(network, self.prepared, folder)
