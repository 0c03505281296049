"""What the trainer needs to know of distillation: windows of text, and what the teacher said of their tokens."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from base.errors import MetrolineError
from base.files import write_json
from models.checkpoint import LanguageModel
from pipelines.tasks.distillation import teacher
from pipelines.tasks.distillation.objective import ALONE, Distillation, Twins
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.language_modelling.learner import LanguageModelling

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


class Distilled(LanguageModelling):
    """`pipelines.tasks.interface.Learner` of a student and its twin, on token shards with a teacher's file beside.

    Raises MetrolineError: as LanguageModelling; nothing of a teacher, or of one that was asked otherwise.
    """

    outer = ("student.lm_head.weight", "alone.lm_head.weight")
    words = Words(targets="tokens", loss="nats per token, of both students together")

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        super().__init__(recipe, prepared)
        self.task = recipe.task
        self.said, self.about = teacher.read(prepared, recipe.task)
        if len(self.said["ids"]) != self.train.total_tokens:
            raise MetrolineError(f"{prepared / teacher.FILE} is of another text", hint="metroline stage prepare RECIPE")

    def network(self, generator: torch.Generator) -> Twins:  # type: ignore[override]
        """Both, with the same first weights."""
        same = generator.clone_state()
        return Twins(super().network(generator), super().network(same))

    def objective(self, network: nn.Module) -> Distillation:  # type: ignore[override]
        """See `Distillation`. Raises MetrolineError: a train split that is smaller than one batch."""
        assert isinstance(network, Twins)
        self.check_sizes()
        self._network = network.student
        return Distillation(network, self.task, self.config.label_smoothing)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """As LanguageModelling, with the teacher's k tokens and log-probabilities of each target."""
        made, length = super().batch(epochs, examples, sequence, device), self.config.sequence
        places = np.stack([np.arange(start + 1, start + 1 + length) for start in self.starts(epochs, examples)])
        said = {
            f"teacher_{name}": torch.from_numpy(values[places].reshape(-1, sequence, self.task.k)).to(device)
            for name, values in self.said.items()
        }
        return Batch(made.inputs | said, made.targets, 2 * made.flops)

    def save(self, network: nn.Module, folder: Path) -> None:
        """The student as LanguageModelling has it, its twin below, and distillation.json: what it learnt from."""
        assert isinstance(network, Twins)
        super().save(network.student, folder)
        assert isinstance(network.alone, LanguageModel)
        super().save(network.alone, folder / ALONE)
        write_json(folder / "distillation.json", {"teacher": self.about, "weight": self.task.weight})
