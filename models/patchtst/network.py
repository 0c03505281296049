"""PatchTST (Nie et al. 2023, arXiv:2211.14730): a transformer over patches of each channel by itself.

Each history is standardised by its own mean and spread, which the forecast gets back (Kim et al. 2022, RevIN).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.dropout import dropout
from models.common.layers import Block, draw, head
from models.patchtst.config import Config

LEAST = 1e-5  # spread of a constant history


class PatchTST(nn.Module):
    """[B, channels, context] → [B, channels, horizon, levels]"""

    def __init__(self, config: Config, context: int, horizon: int, levels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.patch, self.stride, self.rate = config.patch, config.stride, config.dropout
        self.horizon, self.levels, self.sites = horizon, levels, 2 * config.layers
        patches = (context + config.stride - config.patch) // config.stride + 1
        self.embed = nn.Linear(config.patch, config.width)
        self.places = nn.Parameter(0.02 * torch.randn(patches, config.width, generator=generator))
        self.layers = nn.ModuleList(Block(config.width, config.heads, config.dropout, i) for i in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        draw(self, generator)
        for layer in self.layers:
            assert isinstance(layer, Block)
            for linear in (layer.qkv, layer.up, layer.out, layer.down):
                nn.init.normal_(linear.weight, std=0.5 * linear.in_features**-0.5, generator=generator)
        self.head = head(patches * config.width, horizon * levels)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        b, c, _ = x.shape
        mean = x.mean(2, keepdim=True)
        spread = (x - mean).square().mean(2, keepdim=True).sqrt() + LEAST
        scaled = ((x - mean) / spread).reshape(b * c, -1)
        tokens = functional.pad(scaled, (0, self.stride), mode="replicate").unfold(1, self.patch, self.stride)
        x = dropout(self.embed(tokens) + self.places, self.rate, seed, self.sites)
        for layer in self.layers:
            x = layer(x, seed=seed)
        x = dropout(self.norm(x).flatten(1), self.rate, seed, self.sites + 1)
        made = self.head(x).view(b, c, self.horizon, self.levels)
        level = made[..., :1] * spread[..., None] + mean[..., None]
        return torch.cat([level, made[..., 1:]], 3)


def forecaster(
    config: Config, channels: int, context: int, horizon: int, levels: int, generator: torch.Generator
) -> PatchTST:
    """The network with its first weights. Raises ValueError: a history that is shorter than a patch."""
    if context < config.patch:
        raise ValueError(f"model.patch ({config.patch}) is longer than data.context ({context})")
    return PatchTST(config, context, horizon, levels, generator)
