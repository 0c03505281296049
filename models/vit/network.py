"""A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): patches of an image as a row of tokens."""

import torch
from torch import Tensor, nn

from models.common.layers import Block, draw, head
from models.vit.config import Config


class ViT(nn.Module):
    """[B, C, H, W] → [B, outputs]"""

    def __init__(self, config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        channels, height, width = shape
        self.patch = config.patch
        self.rows, self.columns = height // config.patch, width // config.patch
        self.embed = nn.Linear(channels * config.patch**2, config.width)
        self.places = nn.Parameter(0.02 * torch.randn(self.rows * self.columns, config.width, generator=generator))
        self.layers = nn.ModuleList(Block(config.width, config.heads, config.dropout, i) for i in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        draw(self, generator)
        for layer in self.layers:
            assert isinstance(layer, Block)
            for linear in (layer.qkv, layer.up, layer.out, layer.down):
                nn.init.normal_(linear.weight, std=0.5 * linear.in_features**-0.5, generator=generator)
        self.head = head(config.width, outputs)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        b, c, _, _ = x.shape
        p, rows, columns = self.patch, self.rows, self.columns
        x = x.view(b, c, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, c * p * p)
        x = self.embed(x) + self.places
        for layer in self.layers:
            x = layer(x, seed=seed)
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> ViT:
    """The network with its first weights, for images [C, H, W]. Raises ValueError: patches that do not fill one."""
    if shape[1] % config.patch or shape[2] % config.patch:
        raise ValueError(f"model.patch {config.patch} does not divide images of {shape[1]} x {shape[2]}")
    return ViT(config, shape, outputs, generator)
