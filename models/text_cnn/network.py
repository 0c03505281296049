"""Text classification by filters over runs of neighbouring tokens (Kim 2014, arXiv:1408.5882).

Token id 0 is padding at a row's end. A filter of n tokens is one product with their n embeddings side by side.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.dropout import dropout
from models.common.layers import draw, head
from models.text_cnn.config import Config


class TextCNN(nn.Module):
    """int64 [B, S] → [B, outputs]; padding changes nothing."""

    def __init__(self, config: Config, vocabulary: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        if min(config.widths) < 1:
            raise ValueError("a filter of no token")
        self.widths, self.rate, self.input_rate = config.widths, config.dropout, config.input_dropout
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        nn.init.normal_(self.embedding.weight, std=0.3, generator=generator)
        self.filters = nn.ModuleList(nn.Linear(width * config.embedding, config.filters) for width in config.widths)
        draw(self, generator)
        self.head = head(len(config.widths) * config.filters, outputs)

    def forward(self, tokens: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        there = (tokens != 0).unsqueeze(2)
        x = dropout(self.embedding(tokens), self.input_rate, seed, 0) * there
        length = tokens.shape[1]
        ahead = functional.pad(x, (0, 0, 0, max(self.widths) - 1))
        best = []
        for width, layer in zip(self.widths, self.filters, strict=True):
            runs = torch.cat([ahead[:, i : i + length] for i in range(width)], 2)
            best.append((functional.relu(layer(runs)) * there).amax(1))  # a run begins at a token, and may end behind
        logits: Tensor = self.head(dropout(torch.cat(best, 1), self.rate, seed, 1))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> TextCNN:
    """The network with its first weights, for token ids [length, vocabulary]."""
    return TextCNN(config, shape[1], outputs, generator)
