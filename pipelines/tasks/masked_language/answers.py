"""What is exported: a text with one [MASK] → a probability for each token in its place."""

import torch
from torch import Tensor, nn

from data.text.tokenizer import Tokenizer
from data.text.wordpiece import NAMES
from models.common.entries import TextEntry
from models.encoder.layout import Layout, Packed, Rows
from models.encoder.masked import MaskedLanguageModel


class Answers(nn.Module):
    """Token ids int64 [B, S], zeros behind each text → float32 [B, V]; the frame is put around them inside."""

    def __init__(self, network: MaskedLanguageModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.entry, self.network = TextEntry(tokenizer.first, tokenizer.last), network
        self.mask, self.tokens = tokenizer.special[NAMES["mask_token"]], tokenizer.vocab_size

    def forward(self, tokens: Tensor) -> Tensor:
        """Of several masks in a text, which serving refuses, the mean counts."""
        framed = self.entry(tokens)
        layout: Layout = (Rows if torch.compiler.is_compiling() else Packed)(framed)
        there = (framed == self.mask).unsqueeze(2).float()
        found = (layout.rows(self.network.body.features(layout)) * there).sum(1) / there.sum(1).clamp(min=1)
        logits = self.network.logits(self.network.transformed(found))
        return torch.softmax(logits[:, : self.tokens].float(), 1)
