"""Text classification by an LSTM that reads both ways. Token id 0 is padding, wherever it stands at a row's end."""

import torch
from torch import Tensor, nn

from models.common.dropout import dropout
from models.common.layers import draw, head
from models.text_lstm.config import Config


class TextLSTM(nn.Module):
    """int64 [B, S] → [B, outputs]; padding changes nothing."""

    def __init__(self, config: Config, vocabulary: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        nn.init.normal_(self.embedding.weight, std=0.1, generator=generator)
        self.onward = nn.LSTM(config.embedding, config.width, batch_first=True)
        self.backward = nn.LSTM(config.embedding, config.width, batch_first=True)
        self.rate = config.dropout
        for lstm in (self.onward, self.backward):
            for weight in lstm.parameters():
                nn.init.uniform_(weight, -(config.width**-0.5), config.width**-0.5, generator=generator)
        draw(self, generator)
        self.head = head(2 * config.width, outputs)

    def forward(self, tokens: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        there = tokens != 0
        x = dropout(self.embedding(tokens), self.rate, seed, 0)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        turned = there.sum(1, keepdim=True) - 1 - places  # the last token first; padding stays last
        turned = torch.where(turned < 0, turned + tokens.shape[1], turned)
        onward, _ = self.onward(x)
        index = turned.unsqueeze(2)
        back, _ = self.backward(x.gather(1, index.expand(-1, -1, x.shape[2])))
        both = torch.cat([onward, back.gather(1, index.expand(-1, -1, back.shape[2]))], 2)
        best = both.masked_fill(~there.unsqueeze(2), -1.0).amax(1)  # states are above -1
        logits: Tensor = self.head(dropout(best, self.rate, seed, 1))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> TextLSTM:
    """The network with its first weights, for token ids [length, vocabulary]."""
    return TextLSTM(config, shape[1], outputs, generator)
