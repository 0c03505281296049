"""What is learnt. A task turns prepared data into batches and a loss; the trainer knows no task."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pipelines.paths import Paths
    from pipelines.recipe.schema import Recipe


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes."""

    inputs: dict[str, "Tensor"]
    """Keyword arguments of the objective."""
    targets: int
    """Number of targets that count: what a sum of losses is divided by."""
    flops: float
    """Floating-point operations to train on it, for MFU."""


class Task(Protocol):
    """What the trainer needs to know. All of it is the same whenever it is asked again."""

    data_hash: str
    """Identifies the prepared data."""
    windows: int
    """Number of windows an epoch has."""
    outer: tuple[str, ...]
    """Names of the network's weights that belong to the output, not to hidden layers."""

    def network(self, generator: "torch.Generator") -> "nn.Module":
        """The network with its first weights; `layers` is the list of its blocks, where it has any."""

    def objective(self, network: "nn.Module") -> "nn.Module":
        """A module whose forward(**batch.inputs, seed=...) is the sum of a batch's losses, float32 []."""

    def batch(
        self, epochs: "NDArray[np.int64]", windows: "NDArray[np.int64]", sequence: int, device: "torch.device"
    ) -> Batch:
        """The batch of these windows, cut into sequences of `sequence`."""

    def validation(self, device: "torch.device") -> Iterator[Batch]:
        """All of the validation split, in batches; none when there is none."""

    def describe(self, epochs: "NDArray[np.int64]", windows: "NDArray[np.int64]") -> str:
        """Where in the data these windows are, for an error message."""

    def save(self, network: "nn.Module", folder: Path) -> None:
        """Write the network with all that it takes to use it."""


def create(recipe: "Recipe", paths: "Paths") -> Task:
    """The task that the recipe names. Raises MetrolineError where its data is missing or does not fit."""
    from pipelines.tasks.language_modelling.learner import LanguageModelling

    tasks: dict[str, Any] = {"language-modelling": LanguageModelling}
    return tasks[recipe.task](recipe, paths)
