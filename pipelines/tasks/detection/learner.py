"""What the trainer needs for detection: batches of images with boxes, a loss, mean average precision on valid."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.tasks.detection.boxed import Boxed, augmented, together
from pipelines.tasks.detection.loss import Loss
from pipelines.tasks.detection.network import Answers, Detector, build
from pipelines.tasks.detection.scores import average_precision, best_threshold, primary
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.learning import enough, training_flops
from pipelines.tasks.supervised.network import save

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


class Detects:
    """`pipelines.tasks.interface.Learner` on images with boxes, `Judged` by the recipe's primary value.

    Raises MetrolineError: no prepared data, damaged, less than a batch.
    """

    outer = ("body.what.weight", "body.where.weight")
    words = Words(targets="images", loss="focal loss and boxes' fit per image")

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self.recipe = recipe
        self.train, self.valid = Boxed(prepared, "train"), Boxed(prepared, "valid")
        self.train.records.verify()
        self.data_hash, self.examples = self.train.records.data_hash, len(self.train)
        self.metric, self.better = recipe.evaluate.primary, primary(recipe).better
        self._flops = 0.0
        enough(self.examples, recipe.train.batch, "images")

    def network(self, generator: torch.Generator) -> Detector:
        """The network with its first weights."""
        with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
            return build(self.recipe.model, self.train.index, generator)

    def objective(self, network: nn.Module) -> Loss:
        """See `Loss`."""
        assert isinstance(network, Detector)
        self._flops = training_flops(network, torch.from_numpy(self.train.inputs[:1]))
        return Loss(network)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These images of train, cut out and mirrored."""
        boxes = [self.train.boxes[number] for number in examples.tolist()]
        changed = augmented(
            self.train.inputs[examples], boxes, self.recipe.data, self.recipe.train.seed, epochs, examples
        )
        return self._batch(*changed, device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """The images of the validation split, one by one."""
        for at in range(len(self.valid)):
            yield self._batch(self.valid.inputs[at : at + 1], self.valid.boxes[at : at + 1], device)

    def _batch(self, images: NDArray[Any], boxes: list[NDArray[np.float64]], device: torch.device) -> Batch:
        arrays = {"inputs": np.ascontiguousarray(images), "targets": together(boxes)}
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(images), self._flops * len(images))

    def value(self, network: nn.Module, device: torch.device) -> float:
        """The primary value on the validation split."""
        size = self.valid.inputs.shape[1:3]
        values, _ = average_precision(
            self._given(network, device), self.valid.boxes, [(size[0], size[1])] * len(self.valid),
            len(self.valid.output.labels),
        )  # fmt: skip
        return values[self.metric]

    def _given(self, network: nn.Module, device: torch.device) -> list[NDArray[Any]]:
        """Rows of each image of the validation split."""
        assert isinstance(network, Detector)
        answers = Answers(network, self.valid.output).eval()
        with torch.no_grad():
            return [answers(torch.from_numpy(image[None]).to(device))[0].cpu().numpy() for image in self.valid.inputs]

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """Where the images came from."""
        return self.train.place(examples.tolist())

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write weights and config.json with the threshold of the answer, chosen on the validation split."""
        given = self._given(network.eval(), next(network.parameters()).device)
        chosen = best_threshold(given, self.valid.boxes, self.valid.output.threshold)
        save(network, folder, model=self.recipe.model.model_dump(mode="json"), threshold=chosen)
