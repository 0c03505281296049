"""A VGG-like network for small images (Simonyan and Zisserman 2015, arXiv:1409.1556), with BatchNorm."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.dropout import dropout
from models.common.layers import ConvNorm, draw, head
from models.vgg.config import Config


class VGG(nn.Module):
    """[B, C, H, W] → [B, outputs]"""

    def __init__(self, config: Config, channels: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.per, self.rate = config.convolutions, config.dropout
        self.layers = nn.ModuleList()
        for width in config.widths:
            for _ in range(config.convolutions):
                self.layers.append(ConvNorm(channels, width))
                channels = width
        draw(self, generator)
        self.head = head(channels, outputs)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        for i, layer in enumerate(self.layers):
            x = functional.relu(layer(x), inplace=True)
            if i % self.per == self.per - 1 and min(x.shape[2:]) > 1:
                x = functional.max_pool2d(x, 2)
        logits: Tensor = self.head(dropout(x.mean((2, 3)), self.rate, seed, 0))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> VGG:
    """The network with its first weights, for images [C, H, W]."""
    return VGG(config, shape[0], outputs, generator)
