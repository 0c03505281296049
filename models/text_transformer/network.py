"""Text classification by a transformer's encoder. Token id 0 is padding at a row's end."""

import torch
from torch import Tensor, nn

from models.common.dropout import dropout
from models.common.layers import Block, draw, head
from models.text_transformer.config import Config


class TextTransformer(nn.Module):
    """int64 [B, S] → [B, outputs]; padding changes nothing."""

    def __init__(self, config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        length, vocabulary = shape
        self.embedding, self.places = nn.Embedding(vocabulary, config.width), nn.Embedding(length, config.width)
        nn.init.normal_(self.embedding.weight, std=0.1, generator=generator)
        nn.init.normal_(self.places.weight, std=0.02, generator=generator)
        self.layers = nn.ModuleList(
            Block(config.width, config.heads, config.dropout, i + 1) for i in range(config.layers)
        )
        self.norm, self.rate = nn.LayerNorm(config.width), config.dropout
        draw(self, generator)
        for layer in self.layers:
            assert isinstance(layer, Block)
            for linear in (layer.qkv, layer.up, layer.out, layer.down):
                nn.init.normal_(linear.weight, std=0.5 * linear.in_features**-0.5, generator=generator)
        self.head = head(config.width, outputs)

    def forward(self, tokens: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        there = tokens != 0
        x = self.embedding(tokens) + self.places.weight[: tokens.shape[1]]
        x = dropout(x, self.rate, seed, 0)
        for layer in self.layers:
            x = layer(x, there, seed)
        weight = there.unsqueeze(2).to(x.dtype)
        mean = (self.norm(x) * weight).sum(1) / weight.sum(1).clamp(min=1)
        logits: Tensor = self.head(dropout(mean, self.rate, seed, 1))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> TextTransformer:
    """The network with its first weights, for token ids [length, vocabulary]."""
    return TextTransformer(config, shape, outputs, generator)
