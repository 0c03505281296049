"""A multilayer perceptron, for tables and small images."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.dropout import dropout
from models.common.layers import draw, head
from models.mlp.config import Config


class MLP(nn.Module):
    """[B, ...] → [B, outputs]"""

    def __init__(self, config: Config, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (inputs, *config.widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.rate = config.dropout
        draw(self, generator)
        self.head = head(sizes[-1], outputs)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        x = x.flatten(1)
        for site, layer in enumerate(self.layers):
            x = dropout(functional.gelu(layer(x)), self.rate, seed, site)
        logits: Tensor = self.head(x)
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> MLP:
    """The network with its first weights, for items of `shape`."""
    inputs = 1
    for size in shape:
        inputs *= size
    return MLP(config, inputs, outputs, generator)
