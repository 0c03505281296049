"""WaveNet-like: a tree of layers, each of which joins two neighbours of the one below: 1, 2, 4, ... tokens apart.

With L layers a token is predicted from the last 2^L. Source: van den Oord et al. 2016 (arXiv:1609.03499), in the plain
form of makemore (no gates, no skip connections), with layer normalisation, which needs no statistics of a batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.common.activations import ACTIVATIONS
from models.common.history import History, Stepwise, Whole
from models.common.stateful import StatefulModel, positions_within
from models.wavenet.config import Config


class Network(StatefulModel):
    """Token ids → causal dilated convolutions of two taps → logits. `generator` draws the first weights."""

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        super().__init__(config)
        self.activation = ACTIVATIONS[config.activation]
        self.widths = [config.width, *[config.hidden] * (config.layers - 1)]  # what comes into each layer
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(nn.Linear(2 * width, config.hidden) for width in self.widths)
        self.lm_head = nn.Linear(config.hidden, config.vocab_size, bias=False)
        if generator is not None:
            self.initialise(generator)

    def features(self, tokens: Tensor, *, cu_seqlens: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """See `StatefulModel`."""
        return self._tree(tokens, Whole(positions_within(tokens, cu_seqlens)), seed)

    def step(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `StatefulModel`."""
        history = Stepwise(state)
        return self._tree(tokens, history, None), history.after

    def initial_state(self, batch: int) -> list[Tensor]:
        """For each layer, what came into it for the last 1, 2, 4, ... tokens."""
        return [torch.zeros(batch, 2**i, width) for i, width in enumerate(self.widths)]

    def _tree(self, tokens: Tensor, history: History, seed: Tensor | None) -> Tensor:
        x = self.drop(self.embed_tokens(tokens), seed, 0)
        for i, layer in enumerate(self.layers):
            x = layer(torch.cat(history.back(x, (2**i, 0)), -1))
            x = self.drop(self.activation(F.layer_norm(x, x.shape[-1:])), seed, i + 1)
        return x
