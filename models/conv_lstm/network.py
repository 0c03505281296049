"""A recogniser after Deep Speech 2 (Amodei et al. 2016, arXiv:1512.02595), in small: convolutions with BatchNorm over a
log-mel spectrogram, then long short-term memory (Hochreiter and Schmidhuber 1997) both ways."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.common.dropout import dropout
from models.common.layers import ConvNorm, draw
from models.conv_lstm.config import Config

HALVED = 2
"""Frames of the spectrogram to one of the answer."""


class ConvLSTM(nn.Module):
    """[B, 1, mels, frames] → logits [B, frames / 2, symbols]"""

    def __init__(self, config: Config, mels: int, symbols: int, generator: torch.Generator) -> None:
        super().__init__()
        self.rate = config.dropout
        self.one = ConvNorm(1, config.channels, stride=2)
        self.two = ConvNorm(config.channels, config.channels)
        self.narrow = nn.Linear(config.channels * ((mels + 1) // 2 // 2), config.width)
        draw(self, generator)
        self.units = nn.ModuleList(
            nn.LSTM(
                config.width if layer == 0 else 2 * config.width, config.width, batch_first=True, bidirectional=True
            )
            for layer in range(config.layers)
        )
        for part in self.units:
            for weight in part.parameters():
                nn.init.uniform_(weight, -(config.width**-0.5), config.width**-0.5, generator=generator)
        self.head = nn.Linear(2 * config.width, symbols)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        x = functional.relu(self.two(functional.relu(self.one(x))))
        x = functional.max_pool2d(x, (2, 1))  # [B, C, mels / 4, frames / 2]
        x = dropout(functional.relu(self.narrow(x.flatten(1, 2).transpose(1, 2))), self.rate, seed, 0)
        for site, part in enumerate(self.units, 1):
            x = dropout(part(x)[0], self.rate, seed, site)
        logits: Tensor = self.head(x)
        return logits


def recogniser(config: Config, mels: int, symbols: int, generator: torch.Generator) -> ConvLSTM:
    """The network with its first weights, for spectrograms [1, mels, any number of frames]. Raises ValueError: too few
    mels for the convolutions."""
    if mels < 4:
        raise ValueError(f"data.mels: {mels}, but the convolutions need 4 or more")
    return ConvLSTM(config, mels, symbols, generator)
