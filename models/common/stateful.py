"""Language models whose memory has a fixed size: a recurrent state, or the last tokens of a window.

    logits = network(tokens)                        # [B, S] → [B, S, V]
    features, state = network.step(tokens[:, 0], network.initial_state(batch))

A subclass has `features` for training, all tokens at once, and `step` for generation, one token a row; both compute the
same. `Stepper` is the shape in which it leaves PyTorch. No files (`models.checkpoint`), no loss, no sampling.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from kernels import positions as document_positions
from models.common.config import StatefulConfig
from models.common.dropout import dropout


class StatefulModel(nn.Module):
    """What these networks have in common. Raises ValueError for a configuration with no vocabulary."""

    config: StatefulConfig
    lm_head: nn.Linear

    def __init__(self, config: StatefulConfig) -> None:
        super().__init__()
        if config.vocab_size < 1:
            raise ValueError(f"{type(self).__module__}: vocab_size is not set")
        self.config = config

    def features(self, tokens: Tensor, *, cu_seqlens: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """Token ids [B, S] → what the head multiplies, [B, S, W].

        `cu_seqlens`: int32 [N + 1], documents packed in the B·S tokens, which see nothing of each other. The first is
        0, the last B·S, and every row starts a document. `seed`: dropout's, as `Decoder.features` has it.
        """
        raise NotImplementedError

    def step(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One token a row, int64 [B], and the rows' states → features [B, W] and the states after it."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> list[Tensor]:
        """Zeros [B, ...] each: the state before a document's first token."""
        raise NotImplementedError

    def drop(self, x: Tensor, seed: Tensor | None, site: int) -> Tensor:
        """Dropout in training mode, where a seed is given; `site` tells the network's places apart."""
        return dropout(x, self.config.dropout, seed if self.training else None, site)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Embeddings normal; matrices normal / sqrt(inputs); the head a tenth of that, so that all tokens begin about
        equally likely; biases zero."""
        embeddings = {id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)}
        for weight in self.parameters():
            if weight.dim() < 2:
                weight.zero_()
                continue
            std = 1.0 if id(weight) in embeddings else weight.shape[-1] ** -0.5
            weight.normal_(0.0, std * (0.1 if weight is self.lm_head.weight else 1.0), generator=generator)

    @property
    def head_weight(self) -> Tensor:
        """[V, W] of the output head: logits = features @ head_weight.T."""
        return self.lm_head.weight

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.parameters())

    def flops_per_token(self, sequence: int) -> int:
        """Floating-point operations to train on one token: 6 for each weight that is multiplied (not embeddings)."""
        looked_up = sum(module.weight.numel() for module in self.modules() if isinstance(module, nn.Embedding))
        return 6 * (self.parameter_count - looked_up)

    def forward(self, tokens: Tensor, *, cu_seqlens: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """Token ids [B, S] → logits [B, S, V]; arguments as `features`."""
        return self.lm_head(self.features(tokens, cu_seqlens=cu_seqlens, seed=seed))

    def forward_cached(
        self, tokens: Tensor, past: Sequence[Tensor], lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """New tokens [B, S] over states → logits [B, S, V] and the states after them, as `Decoder.forward_cached`.

        `lengths` is a decoder's matter; here every row has all S tokens.
        """
        state, features = list(past), []
        for column in tokens.unbind(1):
            feature, state = self.step(column, state)
            features.append(feature)
        return self.lm_head(torch.stack(features, 1)), state

    def empty_cache(self, batch: int) -> list[Tensor]:
        """The same as `initial_state`, as `Decoder` calls it."""
        return self.initial_state(batch)


def positions_within(tokens: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """int64 [B or 1, S]: how many tokens of its document are before each of tokens [B, S]."""
    batch, length = tokens.shape
    if cu_seqlens is None:
        return torch.arange(length, device=tokens.device).unsqueeze(0)
    return document_positions(cu_seqlens, batch, length)


class Stepper(nn.Module):
    """`StatefulModel.step` with flat tensors in and out, for export.

    Inputs, in order: input_ids int64 [batch]; state.{i} float32 [batch, ...]. Outputs: logits [batch, vocab];
    next_state.{i}, as state.{i}.
    """

    def __init__(self, model: StatefulModel) -> None:
        super().__init__()
        self.model = model
        self._state = model.initial_state(2)
        self.input_names = ["input_ids", *(f"state.{i}" for i in range(len(self._state)))]
        self.output_names = ["logits", *(f"next_state.{i}" for i in range(len(self._state)))]
        self.eval()

    def forward(self, input_ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        features, after = self.model.step(input_ids, state)
        return (self.model.lm_head(features), *after)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros of the right shapes and types, two rows."""
        return (torch.zeros(2, dtype=torch.int64), *(part.clone() for part in self._state))

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Which dimensions vary, for `torch.export` and `torch.onnx.export`: the batch."""
        batch = Dim("batch", max=4096)
        return ({0: batch}, *([tuple({0: batch} for _ in self._state)] if self._state else []))
