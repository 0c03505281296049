"""What the trainer needs for transcription: batches of clips with texts, the CTC loss, wrong words on valid."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data.ctc import worded
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.learning import enough, training_flops
from pipelines.tasks.supervised import augment_sound
from pipelines.tasks.supervised.network import save
from pipelines.tasks.transcription.network import Answers, Recogniser, build
from pipelines.tasks.transcription.scores import primary, scores
from pipelines.tasks.transcription.spoken import Sound, Spoken, together

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

VALIDATION = 32
"""Clips of a batch of the validation split."""


class Loss(nn.Module):
    """Clips and texts → the sum over clips of the negative log-likelihood (nats) of a character of its text (Graves et
    al. 2006). `blank`: its place in the alphabet, as the signature says."""

    def __init__(self, network: Recogniser, blank: int) -> None:
        super().__init__()
        self.network, self.blank = network, blank

    def forward(self, inputs: Tensor, targets: Tensor, lengths: Tensor, seed: Tensor | None = None) -> Tensor:
        """`targets`: int64 [B, longest], `lengths` of each [B]. Silence behind a clip is frames of blanks."""
        logits = self.network(inputs, seed if self.training else None).float()
        frames = torch.full((len(logits),), logits.shape[1])
        likely = logits.log_softmax(2).transpose(0, 1)
        losses = functional.ctc_loss(likely, targets, frames, lengths, self.blank, "none", zero_infinity=True)
        return (losses / lengths.clamp(min=1)).sum()


class Transcribes:
    """`pipelines.tasks.interface.Learner` on clips with texts, `Judged` by the recipe's primary value.

    Raises MetrolineError: no prepared data, damaged, less than a batch.
    """

    outer = ("body.head.weight",)
    words = Words(targets="clips", loss="nats per character")

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self.recipe = recipe
        self.train, self.valid = Spoken(prepared, "train"), Spoken(prepared, "valid")
        self.train.records.verify()
        self.data_hash, self.examples = self.train.records.data_hash, len(self.train)
        self.metric, self.better = recipe.evaluate.primary, primary(recipe).better
        self._flops = 0.0
        enough(self.examples, recipe.train.batch, "clips")

    def network(self, generator: torch.Generator) -> Recogniser:
        """The network with its first weights."""
        with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
            return build(self.recipe.model, self.train.index, generator)

    def objective(self, network: nn.Module) -> Loss:
        """See `Loss`."""
        assert isinstance(network, Recogniser)
        rate = self.recipe.data.rate
        self._flops = training_flops(network, torch.zeros(1, rate)) / rate  # of a sample
        return Loss(network, self.train.output.blank)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These clips of train, played faster or slower, later, louder or softer, with noise."""
        data, numbers = self.recipe.data, examples.tolist()
        sounds = [self.train.sounds[number] for number in numbers]
        slower = data.speed / (1 - data.speed) * max(map(len, sounds)) + data.shift * data.rate
        changed = augment_sound.augmented(together(sounds, int(slower)), data, self.recipe.train.seed, epochs, examples)
        return self._batch(changed, [self.train.symbols(number) for number in numbers], device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All of the validation split, those of alike length together."""
        for numbers in self._alike():
            sounds = together([self.valid.sounds[number] for number in numbers])
            yield self._batch(sounds, [self.valid.symbols(number) for number in numbers], device)

    def _alike(self) -> Iterator[list[int]]:
        order = np.argsort([len(sound) for sound in self.valid.sounds], kind="stable").tolist()
        for at in range(0, len(order), VALIDATION):
            yield order[at : at + VALIDATION]

    def _batch(self, sounds: Sound, texts: list[list[int]], device: torch.device) -> Batch:
        targets = np.zeros((len(texts), max(1, *map(len, texts))), np.int64)
        for place, text in zip(targets, texts, strict=True):
            place[: len(text)] = text
        arrays: dict[str, NDArray[Any]] = {
            "inputs": sounds, "targets": targets, "lengths": np.array([len(text) for text in texts])
        }  # fmt: skip
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return Batch(tensors, len(texts), self._flops * sounds.size)

    def value(self, network: nn.Module, device: torch.device) -> float:
        """The primary value on the validation split, of texts as they will be served."""
        assert isinstance(network, Recogniser)
        answers, given = Answers(network).eval(), dict[int, str]()
        for numbers, batch in zip(self._alike(), self.validation(device), strict=True):
            with torch.no_grad():
                rows = answers(batch.inputs["inputs"]).cpu().numpy()
            given |= {number: worded(self.valid.output, row)["text"] for number, row in zip(numbers, rows, strict=True)}
        return scores([given[number] for number in range(len(self.valid))], self.valid.texts)[self.metric]

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """Where the clips came from."""
        few = ", ".join(self.train.records.id(number) for number in examples.tolist()[:4])
        return f"{len(examples)} train clips: {few}{', …' if len(examples) > 4 else ''}"

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write weights and config.json."""
        save(network, folder, model=self.recipe.model.model_dump(mode="json"))
