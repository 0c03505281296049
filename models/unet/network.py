"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with BatchNorm, padding and nearest upsampling as of today."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.layers import ConvNorm, draw
from models.unet.config import Config


class Twice(nn.Module):
    """[B, C, H, W] → [B, C', H, W]: two convolutions of 3 x 3."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.one, self.two = ConvNorm(width_in, width_out), ConvNorm(width_out, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(self.two(functional.relu(self.one(x), inplace=True)), inplace=True)


class UNet(nn.Module):
    """[B, C, H, W] → logits [B, labels, H, W]"""

    def __init__(self, config: Config, channels: int, labels: int, generator: torch.Generator) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(config.widths))
        self.first = Twice(channels, config.widths[0])
        self.down = nn.ModuleList(Twice(small, large) for small, large in pairs)
        self.narrow = nn.ModuleList(ConvNorm(large, small) for small, large in reversed(pairs))
        self.up = nn.ModuleList(Twice(2 * small, small) for small, _ in reversed(pairs))
        draw(self, generator)
        self.head = nn.Conv2d(config.widths[0], labels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        levels = [self.first(x)]
        for part in self.down:
            levels.append(part(functional.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for narrow, part in zip(self.narrow, self.up, strict=True):
            larger = functional.interpolate(functional.relu(narrow(x)), scale_factor=2.0, mode="nearest")
            x = part(torch.cat([levels.pop(), larger], 1))
        logits: Tensor = self.head(x)
        return logits


def segmenter(config: Config, shape: tuple[int, int, int], labels: int, generator: torch.Generator) -> UNet:
    """The network with its first weights, for images [C, H, W]. Raises ValueError: a size that cannot be halved."""
    step = 2 ** (len(config.widths) - 1)
    if shape[1] % step or shape[2] % step:
        times = len(config.widths) - 1
        raise ValueError(
            f"model.widths halve images {times} times: height and width must be multiples of {step}, not {shape[1]} x "
            f"{shape[2]}"
        )
    return UNet(config, shape[0], labels, generator)
