"""The task of predicting each next token: batches from token shards, cross-entropy in nats.

The train split is cut into windows of `train.sequence` tokens and one more (the last target);
an epoch takes each once. Scoring of the test split is `pipelines.tasks.language_modelling.evaluate`'s.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from base.errors import MetrolineError
from data.text.shards import Shards
from kernels import linear_cross_entropy
from models.checkpoint import LanguageModel, build, save
from models.decoder.config import DecoderConfig
from models.decoder.huggingface import published
from models.decoder.model import Decoder
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.language_modelling.imported import imported
from pipelines.tasks.language_modelling.shift import epoch_shift

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

VALIDATION_TOKENS = 8192  # in one forward pass over the validation split


class NextToken(nn.Module):
    """Token ids and targets [B, S] → the summed cross-entropy of the targets, float32 [], logits never held whole."""

    def __init__(self, model: LanguageModel, label_smoothing: float) -> None:
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing

    def forward(
        self, tokens: Tensor, targets: Tensor, cu_seqlens: Tensor | None = None, seed: Tensor | None = None
    ) -> Tensor:
        """Label smoothing and dropout apply in training mode only."""
        features = self.model.features(tokens, cu_seqlens=cu_seqlens, seed=seed)
        smoothing = self.label_smoothing if self.training else 0.0
        return linear_cross_entropy(
            features, self.model.head_weight, targets, label_smoothing=smoothing, reduction="sum"
        )


class LanguageModelling:
    """`pipelines.tasks.interface.Learner` for a language model of any kind on token shards.

    Raises MetrolineError: no prepared data, damaged shards, a vocabulary or sequence that does not fit the model, a
    train split smaller than one batch (these two when it is asked for its objective).
    """

    outer: tuple[str, ...] = ("lm_head.weight",)
    words = Words(targets="tokens", loss="nats per token")

    def __init__(self, recipe: "Recipe", prepared: Path, first: Path | None = None) -> None:
        self.config, self.prepared, self.first = recipe.train, prepared, first
        self.train, self.valid = Shards(prepared, "train"), Shards(prepared, "valid")
        self.train.verify()
        self.valid.verify()
        vocabulary = recipe.model.vocab_size
        if vocabulary not in (0, self.train.vocab_size):
            raise MetrolineError(
                f"model.vocab_size is {vocabulary}, the prepared data has {self.train.vocab_size} tokens",
                hint="leave model.vocab_size out",
            )
        self.model_config = recipe.model.model_copy(update={"vocab_size": self.train.vocab_size})
        self._imported: Decoder | None = None
        if first is not None:
            self._imported = imported(first, self.train.vocab_size)
            self.model_config = self._imported.config  # the weights themselves are given away, not kept twice
        sequence = self.config.sequence
        tokens = self.train.total_tokens
        # One token more is the last target. Epochs after the first are shifted by up to sequence - 1 tokens, which the
        # last window leaves room for.
        self.examples = max(1, (tokens - 1) // sequence - 1)
        self.shifted = (tokens - 1) // sequence > 1
        self._flops: dict[int, int] = {}
        self.data_hash = self.train.data_hash

    def network(self, generator: torch.Generator) -> LanguageModel:
        """The network with its first weights: drawn, or those of `first`."""
        if self.first is not None:
            model: LanguageModel = self._imported or imported(self.first, self.train.vocab_size)
            self._imported = None
        else:
            with torch.random.fork_rng(devices=[]):  # PyTorch's modules draw weights of their own first
                model = build(self.model_config, generator)
        if isinstance(model, Decoder):
            model.activation_checkpointing = self.config.activation_checkpointing
        return model

    def objective(self, network: nn.Module) -> NextToken:
        """See `NextToken`. Raises MetrolineError: a train split that is smaller than one batch."""
        assert isinstance(network, LanguageModel)
        self.check_sizes()
        self._network = network
        return NextToken(network, self.config.label_smoothing)

    def check_sizes(self) -> None:
        """Raise MetrolineError: a sequence beyond the context, a train split of less than one batch."""
        sequence = self.config.sequence
        if sequence > self.model_config.context:
            raise MetrolineError(f"train.sequence {sequence} is longer than model.context {self.model_config.context}")
        tokens, needed = self.train.total_tokens, self.config.batch * sequence + 1
        if tokens < needed:
            raise MetrolineError(
                f"the train split has {tokens:,} tokens, less than the {needed:,} of one batch "
                f"({self.config.batch} sequences of {sequence})",
                hint="take more data, or a smaller train.batch or train.sequence",
            )

    def starts(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> list[int]:
        """Where each window begins in the train split's row of tokens."""
        length, seed = self.config.sequence, self.config.seed
        shifts = {e: epoch_shift(seed, e, length) if self.shifted else 0 for e in set(epochs.tolist())}
        return [w * length + shifts[e] for e, w in zip(epochs.tolist(), examples.tolist(), strict=True)]

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """Windows of text [n] → tokens and targets [n · window / sequence, sequence]."""
        length = self.config.sequence
        rows = np.stack([self.train.tokens_at(start, length + 1) for start in self.starts(epochs, examples)])
        tokens, targets = rows[:, :-1].reshape(-1, sequence), rows[:, 1:].reshape(-1, sequence)
        return self._batch(tokens, targets, self.train.eos, device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """The validation split in windows side by side; what is left at its end comes as one shorter row."""
        length, targets = self.config.sequence, max(0, self.valid.total_tokens - 1)
        rows, at = max(1, VALIDATION_TOKENS // length), 0
        while at < targets:
            count = min(rows, (targets - at) // length)
            width = length if count else targets - at
            count = max(1, count)
            flat = self.valid.tokens_at(at, count * width + 1)
            yield self._batch(flat[:-1].reshape(count, width), flat[1:].reshape(count, width), self.valid.eos, device)
            at += count * width

    def _batch(self, tokens: NDArray[np.int64], targets: NDArray[np.int64], eos: int, device: torch.device) -> Batch:
        inputs = {"tokens": torch.from_numpy(np.ascontiguousarray(tokens)).to(device)}
        inputs["targets"] = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
        if self.config.isolate_documents:
            inputs["cu_seqlens"] = torch.from_numpy(borders(tokens, eos)).to(device)
        length = tokens.shape[1]
        if length not in self._flops:
            self._flops[length] = self._network.flops_per_token(length)
        return Batch(inputs, targets.size, float(self._flops[length]) * targets.size)

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """The windows' token offsets in the train split, the first few of them."""
        starts = self.starts(epochs, examples)
        few = ", ".join(f"{start:,}" for start in starts[:4]) + (", …" if len(starts) > 4 else "")
        return f"{len(starts)} windows of {self.config.sequence} tokens at train tokens {few}"

    def published(self, layer: str) -> str:
        """The name of a layer in a Hugging Face folder."""
        assert isinstance(self.model_config, DecoderConfig)
        return published(self.model_config, layer)

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write weights, configuration, tokenizer; a decoder as a Hugging Face folder."""
        assert isinstance(network, LanguageModel)
        eos = self.train.eos if self.first is None else None  # imported weights have their own stop tokens
        save(network, folder, tokenizer=self.prepared / "tokenizer.json", eos=eos)


def borders(tokens: NDArray[np.int64], eos: int) -> NDArray[np.int32]:
    """Where documents begin in tokens [B, S] laid end to end, with the end: int32 [N + 1].

    A document's first input is the end-of-text token before it, from which its first token is predicted, as when text
    is generated from nothing. So every token is a target, and none is predicted from another document.
    """
    starts = tokens == eos
    starts[:, 0] = True
    return np.append(np.flatnonzero(starts.reshape(-1)), tokens.size).astype(np.int32)
