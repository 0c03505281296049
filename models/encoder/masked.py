"""An encoder with the head of BERT's pretraining: which token stood where one was hidden (Devlin et al. 2019)?

    network = MaskedLanguageModel(Encoder(...))
    features = network(tokens, hidden)                     # int64 [B, S], flat places int64 [M] → [M, W]
    logits = network.logits(features)                      # [M, V]

The head is a layer of the encoder's width, its activation, a norm, and as output the embedding again (tied), with a
bias.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoder.layout import Layout, Packed, Rows
from models.encoder.model import Encoder


class MaskedLanguageModel(nn.Module):
    """Token ids int64 [B, S], zeros behind each text, and M places of them → features [M, W] for the output head."""

    def __init__(self, body: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        config = body.config
        del body.head  # there is no pooled vector
        self.body, self.dense = body, nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(body.embedding.num_embeddings))
        nn.init.normal_(self.dense.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.dense.bias)
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's blocks."""
        return self.body.layers

    def forward(self, tokens: Tensor, hidden: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class. `hidden`: int64 [M], row · S + place. `seed`: of dropout."""
        layout: Layout = (Rows if torch.compiler.is_compiling() else Packed)(tokens)
        every = layout.rows(self.body.features(layout, seed)).flatten(0, 1)
        return self.transformed(every.index_select(0, hidden))

    def transformed(self, x: Tensor) -> Tensor:
        """What the encoder makes of tokens → features for the output head, [..., W] → [..., W]."""
        normed: Tensor = self.norm(F.gelu(self.dense(x), approximate=self.approximate))
        return normed

    def logits(self, features: Tensor) -> Tensor:
        """[..., W] → [..., V]"""
        return F.linear(features, self.body.embedding.weight, self.bias)

    def biased(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [M, W + 1] and output weights [V, W + 1] whose product is `logits`, for ops that take no bias."""
        ones = features.new_ones(*features.shape[:-1], 1)
        return torch.cat([features, ones], -1), torch.cat([self.body.embedding.weight, self.bias[:, None]], 1)
