"""A residual network for small images (He et al. 2016, arXiv:1512.03385): stages, each half the size of the one before.

With `stride: 2` the first convolution halves the image at once, so that wide layers come cheap: what matrix units
multiply fast, and what costs memory (BatchNorm and ReLU at full size) is a quarter.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.layers import ConvNorm, draw, head
from models.resnet.config import Config


class Residual(nn.Module):
    """[B, C, H, W] → [B, C', H / stride, W / stride]"""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = ConvNorm(width_in, width_out, 3, stride), ConvNorm(width_out, width_out)
        same = width_in == width_out and stride == 1
        self.short: nn.Module = nn.Identity() if same else ConvNorm(width_in, width_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = functional.relu(self.one(x), inplace=True)
        return functional.relu(self.short(x) + self.two(inner), inplace=True)


class ResNet(nn.Module):
    """[B, C, H, W] → [B, outputs]"""

    def __init__(self, config: Config, channels: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        widths = (config.widths[0], *config.widths)
        self.stem = ConvNorm(channels, widths[0], stride=config.stride)
        self.layers = nn.ModuleList(
            Residual(before if i == 0 else width, width, 2 if stage and i == 0 else 1)
            for stage, (before, width) in enumerate(itertools.pairwise(widths))
            for i in range(config.blocks)
        )
        draw(self, generator)
        self.head = head(widths[-1], outputs)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        x = functional.relu(self.stem(x), inplace=True)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> ResNet:
    """The network with its first weights, for images [C, H, W]."""
    return ResNet(config, shape[0], outputs, generator)
