"""Bigram: each token's distribution depends on the one before it, and on nothing else. One table, learnt.

Its optimum is what counting pairs gives; `evaluate` counts too (`baselines.bigram_bits_per_byte`), so the two can be
compared.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bigram.config import Config
from models.common.stateful import StatefulModel


class Network(StatefulModel):
    """Token ids → rows of the table as logits. `generator` draws the first weights."""

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.vocab_size, config.vocab_size, bias=False)
        if generator is not None:
            self.initialise(generator)

    def features(self, tokens: Tensor, *, cu_seqlens: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """See `StatefulModel`. A token sees no other, so documents need no borders."""
        return F.one_hot(tokens, self.config.vocab_size).to(self.lm_head.weight.dtype)

    def step(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `StatefulModel`."""
        return self.features(tokens), []

    def initial_state(self, batch: int) -> list[Tensor]:
        """There is none."""
        return []
