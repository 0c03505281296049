"""LeNet: two convolutions with pooling, then linear layers (LeCun et al. 1998), with ReLU and BatchNorm as of today."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.dropout import dropout
from models.common.layers import ConvNorm, draw, head
from models.lenet.config import Config


class LeNet(nn.Module):
    """[B, C, H, W] → [B, outputs]"""

    def __init__(self, config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        channels, height, width = shape
        first, second = config.widths
        self.first, self.second = ConvNorm(channels, first, 5), ConvNorm(first, second, 5)
        self.hidden = nn.Linear(second * (height // 4) * (width // 4), config.hidden)
        self.rate = config.dropout
        draw(self, generator)
        self.head = head(config.hidden, outputs)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)
        x = functional.relu(self.hidden(dropout(x.flatten(1), self.rate, seed, 0)))
        logits: Tensor = self.head(dropout(x, self.rate, seed, 1))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> LeNet:
    """The network with its first weights, for images [C, H, W]."""
    return LeNet(config, shape, outputs, generator)
