"""A multi-layer perceptron over the embeddings of the last few tokens.

Source: Bengio et al. 2003, "A neural probabilistic language model" (JMLR 3), without its direct connections.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.common.activations import ACTIVATIONS
from models.common.history import History, Stepwise, Whole
from models.common.stateful import StatefulModel, positions_within
from models.window_mlp.config import Config


class Network(StatefulModel):
    """Token ids → hidden layer → logits. `generator` draws the first weights."""

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        super().__init__(config)
        self.window, self.width = config.window, config.width
        self.activation = ACTIVATIONS[config.activation]
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        sizes = [config.window * config.width, *[config.hidden] * config.layers]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.lm_head = nn.Linear(config.hidden, config.vocab_size, bias=False)
        if generator is not None:
            self.initialise(generator)

    def features(self, tokens: Tensor, *, cu_seqlens: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """See `StatefulModel`."""
        return self._hidden(tokens, Whole(positions_within(tokens, cu_seqlens)), seed)

    def step(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `StatefulModel`."""
        history = Stepwise(state)
        return self._hidden(tokens, history, None), history.after

    def initial_state(self, batch: int) -> list[Tensor]:
        """The embeddings of the window's older tokens."""
        return [torch.zeros(batch, self.window - 1, self.width)]

    def _hidden(self, tokens: Tensor, history: History, seed: Tensor | None) -> Tensor:
        x = self.drop(self.embed_tokens(tokens), seed, 0)
        x = torch.cat(history.back(x, range(self.window - 1, -1, -1)), -1)
        for site, layer in enumerate(self.layers, start=1):
            x = self.drop(self.activation(layer(x)), seed, site)
        return x
