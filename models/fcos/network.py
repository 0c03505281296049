"""FCOS (Tian et al. 2019, arXiv:1904.01355), on one grid: each cell says what is at its middle, and how far the sides
of its box are. The levels of a feature pyramid (Lin et al. 2017, arXiv:1612.03144) come together in that grid."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.layers import ConvNorm, draw
from models.fcos.config import Config

RARE = 0.01
"""The score of each cell and label at first (Lin et al. 2017, arXiv:1708.02002): nearly all cells are empty."""
FARTHEST = 6.0
"""Most of the logarithm of a distance in cells."""


class Residual(nn.Module):
    """[B, C, H, W] → [B, C', H / 2, W / 2]: a convolution with stride 2, and two more beside a way around them."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.down = ConvNorm(width_in, width_out, stride=2)
        self.one, self.two = ConvNorm(width_out, width_out), ConvNorm(width_out, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = functional.relu(self.down(x))
        return functional.relu(x + self.two(functional.relu(self.one(x))))


class FCOS(nn.Module):
    """[B, C, H, W] → logits [B, labels, H / cell, W / cell] and the distances in pixels from the middle of each cell to
    the left, upper, right and lower side of its box [B, 4, H / cell, W / cell]."""

    def __init__(self, config: Config, channels: int, labels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.cell, self.before = 2**config.halvings, config.halvings - 1
        widths = config.widths
        self.stem = ConvNorm(channels, widths[0], stride=2)
        self.levels = nn.ModuleList(Residual(one, two) for one, two in itertools.pairwise(widths))
        self.sides = nn.ModuleList(ConvNorm(width, config.head, 1) for width in widths[self.before :])
        self.head = nn.ModuleList(ConvNorm(config.head, config.head) for _ in range(config.layers))
        draw(self, generator)
        self.what, self.where = nn.Conv2d(config.head, labels, 3, 1, 1), nn.Conv2d(config.head, 4, 3, 1, 1)
        for layer, bias in ((self.what, math.log(RARE / (1 - RARE))), (self.where, math.log(2.0))):
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, bias)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        found = [functional.relu(self.stem(x))]
        for level in self.levels:
            found.append(level(found[-1]))
        x = self.sides[-1](found[-1])
        for side, part in zip(reversed(self.sides[:-1]), reversed(found[self.before : -1]), strict=True):
            x = side(part) + functional.interpolate(functional.relu(x), scale_factor=2.0, mode="nearest")
        x = functional.relu(x)
        for layer in self.head:
            x = functional.relu(layer(x))
        return self.what(x), self.where(x).clamp(max=FARTHEST).exp() * self.cell


def detector(config: Config, shape: tuple[int, int, int], labels: int, generator: torch.Generator) -> FCOS:
    """The network with its first weights, for images [C, H, W]. Raises ValueError: a size that cannot be halved, more
    halvings than widths."""
    step = 2 ** len(config.widths)
    if config.halvings > len(config.widths):
        raise ValueError(f"model.halvings: {config.halvings}, but there are {len(config.widths)} model.widths")
    if shape[1] % step or shape[2] % step:
        raise ValueError(
            f"model.widths halve images {len(config.widths)} times: height and width must be multiples of {step}, not "
            f"{shape[1]} x {shape[2]}"
        )
    return FCOS(config, shape[0], labels, generator)
