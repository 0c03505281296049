"""What the trainer needs for segmentation: batches of images with masks, a loss of each pixel."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.learning import enough, training_flops
from pipelines.tasks.segmentation.network import Segmenter, build
from pipelines.tasks.segmentation.pairs import Pairs, augmented
from pipelines.tasks.segmentation.scores import primary, scores, subject
from pipelines.tasks.supervised.network import save

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


class Loss(nn.Module):
    """Pixels and masks → the sum over images of the mean cross-entropy (nats) of their pixels."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, targets: Tensor, seed: Tensor | None = None) -> Tensor:
        """`targets`: int64 [B, H, W]."""
        logits = self.network(inputs, seed if self.training else None).float()
        return functional.cross_entropy(logits, targets, reduction="none").mean((1, 2)).sum()


class Segments:
    """`pipelines.tasks.interface.Learner` on images with masks, `Judged` by the recipe's primary value.

    Raises MetrolineError: no prepared data, damaged, less than a batch.
    """

    outer = ("body.head.weight",)
    words = Words(targets="images", loss="nats per pixel")

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self.recipe = recipe
        self.train = Pairs(prepared, "train", recipe.data.labels)
        self.valid = Pairs(prepared, "valid", recipe.data.labels)
        self.train.records.verify()
        self.data_hash, self.examples = self.train.records.data_hash, len(self.train)
        self.metric = recipe.evaluate.primary
        self.better = primary(recipe).better
        self._flops = 0.0
        enough(self.examples, recipe.train.batch, "images")

    def network(self, generator: torch.Generator) -> Segmenter:
        """The network with its first weights."""
        with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
            return build(self.recipe.model, self.train.index, generator)

    def objective(self, network: nn.Module) -> Loss:
        """See `Loss`."""
        assert isinstance(network, Segmenter)
        side = self.recipe.data.crop
        example = self.train.inputs[:1, :side, :side] if side else self.train.inputs[:1]
        self._flops = training_flops(network, torch.from_numpy(np.ascontiguousarray(example)))
        return Loss(network)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These images of train, cut out and turned."""
        pair = self.train.inputs[examples], self.train.masks[examples]
        return self._batch(*augmented(*pair, self.recipe.data, self.recipe.train.seed, epochs, examples), device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """The images of the validation split, whole, one by one."""
        for at in range(len(self.valid)):
            yield self._batch(self.valid.inputs[at : at + 1], self.valid.masks[at : at + 1], device)

    def _batch(self, images: NDArray[Any], masks: NDArray[Any], device: torch.device) -> Batch:
        arrays = {"inputs": images, "targets": masks.astype(np.int64)}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(images), self._flops * len(images))

    def value(self, network: nn.Module, device: torch.device) -> float:
        """The primary value on the validation split."""
        found = [network(batch.inputs["inputs"]).argmax(1).cpu().numpy() for batch in self.validation(device)]
        labels = len(self.recipe.data.labels)
        return scores(np.concatenate(found), self.valid.masks, labels, subject(self.recipe))[self.metric]

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """Where the images came from."""
        return self.train.place(examples.tolist())

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write weights and config.json."""
        save(network, folder, model=self.recipe.model.model_dump(mode="json"))
