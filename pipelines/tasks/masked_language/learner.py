"""What the trainer needs for masked-language pretraining: windows of documents, other tokens hidden in every epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from base.errors import MetrolineError
from base.files import read_json, write_json
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from kernels import linear_cross_entropy
from models.encoder import huggingface_masked
from models.encoder.masked import MaskedLanguageModel
from models.encoder.network import build
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.language_modelling.shift import epoch_shift
from pipelines.tasks.learning import enough
from pipelines.tasks.masked_language.batches import Hidden, hidden
from pipelines.tasks.masked_language.held_out import held_out, width
from pipelines.tasks.masked_language.masking import Masking
from pipelines.tasks.masked_language.unigram import unigram
from pipelines.tasks.masked_language.windows import Windows

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


class HiddenTokens(nn.Module):
    """Tokens [B, S], places and targets [M] → the sum of the targets' cross-entropy, float32 []."""

    def __init__(self, network: MaskedLanguageModel, label_smoothing: float) -> None:
        super().__init__()
        self.network, self.label_smoothing = network, label_smoothing

    def forward(self, tokens: Tensor, hidden: Tensor, targets: Tensor, seed: Tensor | None = None) -> Tensor:
        """Label smoothing and dropout apply in training mode only; no logits of other places are ever made."""
        smoothing = self.label_smoothing if self.training else 0.0
        features, weight = self.network.biased(self.network(tokens, hidden, seed if self.training else None))
        return linear_cross_entropy(features, weight, targets, label_smoothing=smoothing, reduction="sum")


class Learner:
    """`pipelines.tasks.interface.Learner`. Raises MetrolineError: no prepared data, damaged, less than one batch."""

    outer = ()
    words = Words(targets="hidden tokens", loss="nats per hidden token")

    def __init__(self, recipe: "Recipe", prepared: Path) -> None:
        self.recipe, self.prepared = recipe, prepared
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json")
        self.masking = Masking(self.tokenizer, recipe.task.rate, whole_words=recipe.task.whole_words)
        self.width = width(recipe, self.tokenizer)
        self.train, self.valid = Shards(prepared, "train"), Shards(prepared, "valid")
        self.train.verify()
        self.valid.verify()
        self.windows = Windows(self.train, self.width)
        self.data_hash, self.examples = self.train.data_hash, len(self.windows)
        self.validated_by = recipe.evaluate.model_dump(include={"rate", "seed"})
        self.shifted = bool((np.diff(np.asarray(self.train.offsets)) > self.width + 2).any())
        enough(self.examples, recipe.train.batch, f"windows of {self.width} tokens")
        self.active, self.head = 0, 0  # weights that work on each token, and on each hidden one

    def network(self, generator: torch.Generator) -> MaskedLanguageModel:
        """The network with its first weights; the output's bias begins with how often each token is in train."""
        model, shape = self.recipe.model, (self.recipe.model.context, self.tokenizer.vocab_size)
        with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
            try:
                made = MaskedLanguageModel(build(model, shape, 1, generator), generator)
            except ValueError as error:
                raise MetrolineError(f"model: {error}") from None
        shares = torch.from_numpy(unigram(self.train, self.tokenizer)).log().float()
        with torch.no_grad():
            made.bias[: len(shares)] = shares - shares.mean()
        return made

    def objective(self, network: nn.Module) -> HiddenTokens:
        """See `HiddenTokens`."""
        assert isinstance(network, MaskedLanguageModel)
        self.active = sum(weight.numel() for weight in network.body.layers.parameters())
        self.head = network.bias.numel() * network.dense.in_features
        return HiddenTokens(network, self.recipe.train.label_smoothing)

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """These windows; their borders and masks are others in every epoch."""
        seed, wanted = self.recipe.train.seed, list(zip(epochs.tolist(), examples.tolist(), strict=True))
        shifts = {each: epoch_shift(seed, each, self.width) if self.shifted else 0 for each in set(epochs.tolist())}
        windows = [self.windows.shifted(example, shifts[epoch]) for epoch, example in wanted]
        generators = [np.random.default_rng([seed, epoch, example]) for epoch, example in wanted]
        return self._batch(hidden(windows, generators, self.masking, self.tokenizer), device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All of the validation split, with masks that are always the same."""
        for made in held_out(self.recipe, self.tokenizer, self.valid):
            yield self._batch(made, device)

    def _batch(self, made: Hidden, device: torch.device) -> Batch:
        arrays = {"tokens": made.tokens, "hidden": made.hidden, "targets": made.targets}
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        work = self.active * int((made.tokens != 0).sum()) + self.head * len(made.targets)
        return Batch(tensors, len(made.targets), 6.0 * work)

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """Where the windows begin in the train split, the first few of them."""
        starts = [f"{self.windows.start(example, 0):,}" for example in examples[:4].tolist()]
        few = ", ".join(starts) + (", …" if len(examples) > 4 else "")
        return f"{len(examples)} windows of {self.width} tokens at train tokens {few}"

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a Hugging Face folder that `transformers.AutoModelForMaskedLM` loads, with its tokenizer."""
        assert isinstance(network, MaskedLanguageModel)
        huggingface_masked.save(network, folder)
        (folder / "tokenizer.json").write_bytes((self.prepared / "tokenizer.json").read_bytes())
        names = read_json(self.prepared / "tokenizer_config.json")
        write_json(folder / "tokenizer_config.json", names | {"model_max_length": self.recipe.model.context})
