"""A learner of its own kind, for what decoders do not have: BatchNorm, PyTorch's dropout, noise, targets to leave out.

torchrun --nproc-per-node 2 -m tests.pipelines.training.toy FOLDER ddp muon
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.train_section import TrainConfig
from pipelines.tasks.interface import Batch, Words
from pipelines.training import stage
from pipelines.training.distributed import Group, joined
from pipelines.training.loop import Trainer
from pipelines.training.state import States
from tests.pipelines.training import small_runs

TRAIN = {"steps": 9, "batch": 8, "sequence": 2, "lr": 0.02, "warmup": 1, "evaluate_every": 3, "save_every": 2,
         "log_every": 1, "device": "cpu", "precision": "fp32"}  # fmt: skip
CPU = torch.device("cpu")


class Net(nn.Module):
    """[B, 1, 4, 4] → two logits [B, 2]. A tied weight, BatchNorm, a buffer to keep, and one that is not kept."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(rate)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 2)
        self.register_buffer("mask", torch.tensor([0.1, -torch.inf]))
        self.register_buffer("scratch", torch.ones(3), persistent=False)

    def forward(self, x):
        x = self.drop(torch.relu(self.norm(self.convolution(x)))).mean((2, 3))
        return self.head(self.second(torch.relu(self.first(x))))


class Noisy(nn.Module):
    """The summed cross-entropy of images with noise on them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images, labels, seed=None):
        noise = torch.randn_like(images) * 0.1
        return nn.functional.cross_entropy(self.network(images + noise), labels, reduction="sum")


class Toy:
    """Bright and dark images, shifted by a random number in each batch."""

    data_hash, examples, outer = "toy", 40, ("head.weight",)

    def __init__(self, counted: int = 1) -> None:
        self.counted = counted
        generator = torch.Generator().manual_seed(3)
        self.labels = torch.arange(self.examples) % 2
        self.images = torch.randn(self.examples, 1, 4, 4, generator=generator) + self.labels.view(-1, 1, 1, 1)

    def network(self, generator):
        return Net()  # draws its weights from the global generator

    def objective(self, network):
        return Noisy(network)

    def batch(self, epochs, examples, sequence, device):
        images = self.images[examples] + 0.1 * torch.rand(1)
        return Batch({"images": images, "labels": self.labels[examples]}, self.counted * len(examples), 1.0)

    def validation(self, device):
        for at in (0, 10, 20):
            yield Batch({"images": self.images[at : at + 10], "labels": self.labels[at : at + 10]}, 10, 1.0)

    def describe(self, epochs, examples):
        return f"images {', '.join(map(str, examples.tolist()))}"

    def save(self, network, folder):
        save_file({name: x.clone() for name, x in network.state_dict().items()}, folder / "model.safetensors")


class Accurate(Toy):
    """Judged by its accuracy; calls the network without the objective around it."""

    metric, better = "accuracy", "higher"
    words = Words(targets="images", loss="nats per image")

    def value(self, network, device):
        return float((network(self.images).argmax(1) == self.labels).float().mean())


class Task:
    """Stands for a recipe's task."""

    def __init__(self, learner: Toy) -> None:
        self._learner = learner

    def learner(self, prepared, first):
        return self._learner


def train(root: Path, learner: Toy | None = None, **options: Any) -> Paths:
    """The whole stage, as it runs for a recipe."""
    recipe, paths = small_runs.recipe(**{**TRAIN, **options}), Paths("mini", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "task", lambda kind: lambda recipe: Task(learner or Toy()))
        stage.train(recipe, paths)
    return paths


def trainer(folder: Path, learner: Toy | None = None, group: Group | None = None, **train) -> Trainer:
    """A trainer whose states are in `folder`, where it left off."""
    (folder / "states").mkdir(parents=True, exist_ok=True)
    config = TrainConfig(**{**TRAIN, **train})
    made = Trainer(config, learner or Toy(), group or Group(0, 1, CPU), States(folder / "states", 2))
    made.restore()
    return made


def main() -> None:
    """Each process writes what it has after a whole run, and after one that was stopped and taken up again."""
    folder, options = Path(sys.argv[1]), {"distributed": sys.argv[2], "optimizer": sys.argv[3]}
    with joined(CPU) as group:
        whole = trainer(folder / "whole", Accurate(), group, **options)
        whole.run(None)
        part = trainer(folder / "part", Accurate(), group, **options)
        while part.counters.step < 5:
            part.step()
            part.follow(None)
        part.save(None)
        resumed = trainer(folder / "part", Accurate(), group, **options)
        resumed.run(None)
        assert whole.counters == resumed.counters
        for name, each in (("whole", whole), ("resumed", resumed)):
            own = {key: x.clone() for key, x in each.whole().items()}
            save_file(own, folder / f"{name}-{group.rank}.safetensors")


if __name__ == "__main__":
    main()
