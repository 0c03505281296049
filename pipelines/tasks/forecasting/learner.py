"""What the trainer needs for forecasting: batches of windows, a loss of mean and quantiles."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.tasks.forecasting.calibrate import calibrate
from pipelines.tasks.forecasting.network import Answers, Forecaster, build
from pipelines.tasks.forecasting.scores import scores
from pipelines.tasks.forecasting.windows import Windows
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.learning import enough, training_flops
from pipelines.tasks.supervised.network import save

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

VALIDATION = 256  # windows in one forward pass over the validation split


class Loss(nn.Module):
    """Histories and targets → the sum over windows of the mean's squared error and the quantiles' pinball loss, each
    averaged over the values that are there.

    The quantiles do not move the mean: it is best for its own loss, whatever they need.
    """

    levels: Tensor

    def __init__(self, network: Forecaster, quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("levels", torch.tensor(quantiles), persistent=False)

    def forward(self, inputs: Tensor, targets: Tensor, seed: Tensor | None = None) -> Tensor:
        """`targets`: float32 [B, horizon, channels] in the data's own units, NaN: no value."""
        mean, deviations, spread = self.network(inputs, seed if self.training else None)
        entry = self.network.entry
        known = ~torch.isnan(targets)
        wanted = (torch.where(known, targets, entry.mean) - entry.mean) / entry.std
        square = (wanted - mean).square()
        miss = (wanted - mean.detach())[..., None] - spread * deviations
        pinball = torch.maximum(self.levels * miss, (self.levels - 1) * miss).mean(3)
        weight = known / known.sum((1, 2), keepdim=True).clamp(min=1)
        return ((square + pinball) * weight).sum()


class Forecasts:
    """`pipelines.tasks.interface.Learner` on windows, `Judged` by the recipe's primary value.

    Raises MetrolineError: no prepared data, damaged, less than a batch.
    """

    outer = ("body.head.weight",)
    words = Words(targets="windows", loss="squared error and pinball loss on the standard scale")
    better = "lower"

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self.recipe = recipe
        self.train, self.valid = Windows(prepared, "train"), Windows(prepared, "valid")
        self.data_hash, self.examples = str(self.train.index["data_hash"]), len(self.train)
        self.metric = recipe.evaluate.primary
        self._flops = 0.0
        enough(self.examples, recipe.train.batch, "windows", more="a longer series")

    def network(self, generator: torch.Generator) -> Forecaster:
        """The network with its first weights."""
        with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
            return build(self.recipe.model, self.train.index, generator)

    def objective(self, network: nn.Module) -> Loss:
        """See `Loss`."""
        assert isinstance(network, Forecaster)
        self._flops = training_flops(network, torch.from_numpy(self.train.inputs(np.zeros(1, np.int64))))
        return Loss(network, self.train.output.quantiles)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These windows of train."""
        return self._batch(self.train, examples, device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All windows of the validation split."""
        for at in range(0, len(self.valid), VALIDATION):
            yield self._batch(self.valid, np.arange(at, min(at + VALIDATION, len(self.valid))), device)

    def _batch(self, windows: Windows, rows: NDArray[np.int64], device: torch.device) -> Batch:
        arrays = {"inputs": windows.inputs(rows), "targets": windows.targets(rows)}
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(rows), self._flops * len(rows))

    def value(self, network: nn.Module, device: torch.device) -> float:
        """The primary value on the validation split, on the standard scale."""
        assert isinstance(network, Forecaster)
        answers = Answers(network, standard=True)
        given, wanted = [], []
        for batch in self.validation(device):
            given.append(answers(batch.inputs["inputs"]).cpu().numpy())
            scaled = (batch.inputs["targets"] - network.entry.mean) / network.entry.std
            wanted.append(scaled.cpu().numpy())
        return scores(np.concatenate(given), np.concatenate(wanted), self.valid.output.quantiles)[self.metric]

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """Which windows these are."""
        few = ", ".join(str(each) for each in self.train.origins[examples[:4]])
        return f"{len(examples)} windows of train; the first forecast from steps {few}"

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write the weights and config.json, the quantiles calibrated on the validation split."""
        assert isinstance(network, Forecaster)
        calibrate(network.eval(), self.valid)
        save(network, folder, model=self.recipe.model.model_dump(mode="json"))
