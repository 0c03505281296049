"""Parts of several networks: a convolution with its BatchNorm, a transformer's block, the head."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kernels import attention
from models.common.dropout import dropout


def draw(module: nn.Module, generator: torch.Generator) -> None:
    """First weights of all linear layers and convolutions: He's normal (He et al. 2015), biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            fan = part.weight[0].numel()
            nn.init.normal_(part.weight, std=math.sqrt(2 / fan), generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def head(width: int, outputs: int) -> nn.Linear:
    """The last layer. It begins at zero, so that the first answer is the same for all labels."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ConvNorm(nn.Module):
    """A convolution and BatchNorm; `fold` makes one convolution of the two."""

    def __init__(self, width_in: int, width_out: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, size, stride, size // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / stride, W / stride]"""
        normed: Tensor = self.norm(self.conv(x))
        return normed


def fold(network: nn.Module) -> nn.Module:
    """Put every BatchNorm into its convolution, in place. For export: the network must be in evaluation mode.

    Raises ValueError in training mode, where BatchNorm would normalise by the batch.
    """
    for part in network.modules():
        if isinstance(part, ConvNorm) and isinstance(part.norm, nn.BatchNorm2d):
            if part.norm.training:
                raise ValueError("fold: a BatchNorm is in training mode")
            part.conv, part.norm = fuse_conv_bn_eval(part.conv, part.norm), nn.Identity()
    return network


class Block(nn.Module):
    """A transformer's block with its norms first: attention over all positions, then a network of two layers."""

    def __init__(self, width: int, heads: int, rate: float, site: int) -> None:
        super().__init__()
        self.heads, self.rate, self.site = heads, rate, site
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, padding: Tensor | None = None, seed: Tensor | None = None) -> Tensor:
        """[B, S, W] → [B, S, W]. `padding`: bool [B, S], False where there is nothing."""
        b, s, w = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, w // self.heads).unbind(2)
        mixed = attention(q, k, v, causal=False, key_padding=padding).reshape(b, s, w)
        x = x + dropout(self.out(mixed), self.rate, seed, 2 * self.site)
        return x + dropout(self.down(functional.gelu(self.up(self.norm2(x)))), self.rate, seed, 2 * self.site + 1)
