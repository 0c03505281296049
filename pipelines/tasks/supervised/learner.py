"""What the trainer needs for classification and regression: batches of decoded examples, a loss summed over items."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from base.errors import MetrolineError
from data.signature import LabelsOutput
from pipelines.tasks.interface import Batch
from pipelines.tasks.learning import enough, training_flops
from pipelines.tasks.supervised import metrics, threshold
from pipelines.tasks.supervised.augment import augmented
from pipelines.tasks.supervised.begin import begin, shaped
from pipelines.tasks.supervised.examples import Examples, of_training
from pipelines.tasks.supervised.frozen import Head, features, once
from pipelines.tasks.supervised.network import Answers, Network, build, save

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

VALIDATION = 512  # items in one forward pass over the validation split


class Loss(nn.Module):
    """Inputs and targets → the sum over items of cross-entropy (nats) or of squared errors in units of the spread."""

    def __init__(self, network: Network | Head, label_smoothing: float) -> None:
        super().__init__()
        self.network, self.label_smoothing = network, label_smoothing

    def forward(self, inputs: Tensor, targets: Tensor, seed: Tensor | None = None) -> Tensor:
        """`targets`: int64 [B] of labels, or float32 [B, names]. Smoothing and dropout apply in training mode only."""
        raw = self.network(inputs, seed if self.training else None).float()
        if targets.dtype == torch.int64:
            smoothing = self.label_smoothing if self.training else 0.0
            return functional.cross_entropy(raw, targets, reduction="sum", label_smoothing=smoothing)
        scaled = (targets - self.network.center) / self.network.spread
        return (raw - scaled).square().mean(1).sum()


class Supervised:
    """`pipelines.tasks.interface.Learner` on records, `Judged` by the recipe's primary value.

    Raises MetrolineError: no prepared data, damaged, too little, a validation split that has no such value.
    """

    outer = ("body.head.weight",)
    fresh = ("body.head",)

    def __init__(self, recipe: "Recipe", prepared: Path, first: Path | None = None) -> None:
        self.recipe, self.prepared, self.first = recipe, prepared, first
        self.model = shaped(recipe.model, first)
        self.train, self.valid = of_training(prepared)
        self.train.records.verify()
        self.valid.records.verify()
        enough(len(self.train), recipe.train.batch, "examples")
        self.data_hash, self.examples = self.train.records.data_hash, len(self.train)
        self._flops, self.once = 0.0, once(recipe)
        self._given: dict[Examples, NDArray[np.float32]] = {}
        self.labels = isinstance(self.train.signature.outputs[0], LabelsOutput)
        chosen = metrics.primary(recipe.evaluate.primary, labels=self.labels)
        self.metric, self.better = chosen.metric.removeprefix("test."), chosen.better
        if len(self.valid) and not np.isfinite(self._judge(self._constant())):
            raise MetrolineError(
                f"evaluate.primary: {self.metric} is no number on the validation split ({len(self.valid):,} examples)",
                hint="take another, or a larger split.valid: AUC is of two labels, both of which must be there",
            )

    def network(self, generator: torch.Generator) -> Network:
        """The network with its first weights, those of others where there are any."""
        with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
            network = build(self.model, self.train.index, generator)
        if self.first is not None:
            begin(network.body, self.model, self.first)
        if self.recipe.pretrained.freeze:
            network.freeze()
        return network

    def objective(self, network: nn.Module) -> Loss:
        """See `Loss`; of the head alone where the rest is frozen and gives the same features in every epoch."""
        assert isinstance(network, Network)
        whole: Network | Head = network
        if self.once:
            self._given = {each: features(network, each.inputs) for each in (self.train, self.valid)}
            whole = Head(network)
        self._flops = training_flops(whole, torch.from_numpy(self._inputs(self.train)[:1]))
        return Loss(whole, self.recipe.train.label_smoothing)

    def _inputs(self, examples: Examples) -> NDArray[Any]:
        """What the objective is given of a split."""
        return self._given.get(examples, examples.inputs)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These examples, augmented; text without the columns that only longer texts need."""
        inputs = self._inputs(self.train)[examples]
        if not self.once:
            inputs = augmented(inputs, self.recipe.data, self.recipe.train.seed, epochs, examples)
        return self._batch(inputs, self.train.targets[examples], device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All of the validation split."""
        for at in range(0, len(self.valid), VALIDATION):
            part = slice(at, at + VALIDATION)
            yield self._batch(self._inputs(self.valid)[part], self.valid.targets[part], device)

    def value(self, network: nn.Module, device: torch.device) -> float:
        """The primary value on the validation split, of answers as they will be exported."""
        assert isinstance(network, Network)
        answers = Answers(Head(network) if self._given else network, self.labels)
        parts = [answers(batch.inputs["inputs"]).float().cpu().numpy() for batch in self.validation(device)]
        return self._judge(np.concatenate(parts))

    def _judge(self, answers: NDArray[Any]) -> float:
        targets = self.valid.targets
        if not self.labels:
            return metrics.regression(answers, targets).get(self.metric, float("nan"))
        border = threshold.best_threshold(answers[:, 1], targets) if self._chosen and answers.shape[1] == 2 else None
        return metrics.classification(answers, targets, border, self.metric).get(self.metric, float("nan"))

    def _constant(self) -> NDArray[np.float64]:
        """The answers of a network that has learnt nothing."""
        if not self.labels:
            return np.full((len(self.valid), 1), self.train.targets.mean())
        count = len(self.train.signature.outputs[0].labels)  # type: ignore[union-attr]
        return np.full((len(self.valid), count), 1 / count)

    @property
    def _chosen(self) -> bool:
        """Whether the threshold between two labels is chosen on the validation split."""
        return getattr(self.recipe.task, "threshold", "") == "f1"

    def _batch(self, inputs: NDArray[Any], targets: NDArray[Any], device: torch.device) -> Batch:
        if inputs.dtype == np.int64:
            inputs = inputs[:, : max(1, int((inputs != 0).sum(1).max()))]
        arrays = {"inputs": inputs, "targets": targets if targets.dtype == np.int64 else as_numbers(targets)}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(targets), self._flops * len(targets))

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """Where the examples came from."""
        return self.train.place(examples.tolist())

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write weights, the probabilities' temperature among them, and config.json with the threshold; both are
        chosen on the validation split."""
        assert isinstance(network, Network)
        facts = dict[str, Any]()
        if self.labels:
            facts = threshold.fit(network.eval(), self.valid, choose=self._chosen)
        save(network, folder, model=self.model.model_dump(mode="json"), **facts)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (path := self.prepared / name).is_file():
                (folder / name).write_bytes(path.read_bytes())


def as_numbers(targets: NDArray[Any]) -> NDArray[np.float32]:
    """float64 [B] or [B, names] → float32 [B, names]."""
    return targets.reshape(len(targets), -1).astype(np.float32)
