"""BERT and its modern form by configuration, with a head on top.

    network = Encoder(EncoderConfig(), (64, 30522), outputs=2, generator=torch.Generator())
    logits = network(tokens)                               # int64 [B, S], zeros behind each text → [B, 2]
    vectors = network.features(layout)                     # [..., W], one for each token

No reading or writing of files (`models.encoder.huggingface`). Attention is `kernels.attention`, over the whole text.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import rotary_tables
from kernels.pointwise import rotate
from models.common.dropout import dropout
from models.common.layers import head
from models.encoder.layout import Layout, Packed, Rows
from models.encoder.shape import EncoderConfig

ROPE = 10_000.0
"""Base of RoPE's wavelengths."""
Tables = tuple[Tensor, Tensor]  # RoPE's cos and sin, [..., 1, D / 2]


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to what it was given."""

    def __init__(self, config: EncoderConfig, site: int) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden or 4 * config.width
        self.heads, self.pre, self.rate, self.site = config.heads, config.norm == "pre", config.dropout, site
        self.activation = config.activation
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 2 * hidden if self.activation == "geglu" else hidden)
        self.down = nn.Linear(hidden, width)
        self.norm1, self.norm2 = (nn.LayerNorm(width, config.norm_eps) for _ in range(2))

    def forward(self, x: Tensor, layout: Layout, rope: Tables | None, seed: Tensor | None) -> Tensor:
        """[..., W] → [..., W] of the layout's shape."""
        for part, norm in ((self._attend, self.norm1), (self._feed, self.norm2)):
            made = part(norm(x) if self.pre else x, layout, rope)
            x = x + dropout(made, self.rate, seed, 2 * self.site + (norm is self.norm2))
            x = x if self.pre else norm(x)
        return x

    def _attend(self, x: Tensor, layout: Layout, rope: Tables | None) -> Tensor:
        q, k, v = (linear(x).unflatten(-1, (self.heads, -1)) for linear in (self.query, self.key, self.value))
        if rope is not None:
            q, k = (rotate(each, *(table.to(each.dtype) for table in rope)) for each in (q, k))
        return self.out(layout.attend(q, k, v).flatten(2))

    def _feed(self, x: Tensor, layout: Layout, rope: Tables | None) -> Tensor:
        x = self.up(x)
        if self.activation == "geglu":
            gate, x = x.chunk(2, -1)
            x = F.gelu(gate) * x
        else:
            x = F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        return self.down(x)


class Encoder(nn.Module):
    """int64 [B, S] → [B, outputs]; padding changes nothing. Raises ValueError: texts longer than the context."""

    cos: Tensor  # [context, D / 2]
    sin: Tensor

    def __init__(self, config: EncoderConfig, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        length, vocabulary = shape
        if length > config.context:
            raise ValueError(f"texts of {length} tokens, and model.context is {config.context}")
        if config.vocabulary and config.vocabulary < vocabulary:
            raise ValueError(f"{vocabulary:,} tokens, and model.vocabulary is {config.vocabulary:,}")
        self.config, width = config, config.width
        self.embedding = nn.Embedding(config.vocabulary or vocabulary, width)
        self.places = nn.Embedding(config.context, width) if config.places == "learned" else None
        if config.places == "rope":
            cos, sin = rotary_tables(config.context, width // config.heads, ROPE)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        self.types = nn.Embedding(config.types, width) if config.types else None
        self.norm = nn.LayerNorm(width, config.norm_eps)  # of the embeddings (BERT), or of the last layer's output
        self.layers = nn.ModuleList(Layer(config, 1 + i) for i in range(config.layers))
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=0.02, generator=generator)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)
        self.head = head(width, outputs)

    def forward(self, tokens: Tensor, seed: Tensor | None = None, types: Tensor | None = None) -> Tensor:
        """See the class. `types`: int64 [B, S], BERT's token types, such as 1 for the second text of a pair."""
        layout: Layout = (Rows if torch.compiler.is_compiling() else Packed)(tokens, types)
        pooled = layout.pool(self.features(layout, seed), self.config.pooling)
        logits: Tensor = self.head(dropout(pooled, self.config.dropout, seed, 1))
        return logits

    def features(self, layout: Layout, seed: Tensor | None = None) -> Tensor:
        """A vector for each token, [..., W] of the layout's shape. `seed`: of dropout in layers that are training."""
        x: Tensor = self.embedding(layout.tokens)
        if self.types is not None:
            x = x + (self.types.weight[0] if layout.types is None else self.types(layout.types))
        rope = None
        if self.places is not None:
            x = x + self.places(layout.places)
        else:
            rope = self.cos[layout.places].unsqueeze(-2), self.sin[layout.places].unsqueeze(-2)
        pre = self.config.norm == "pre"
        x = x if pre else self.norm(x)
        seed = seed if self.norm.training else None  # a frozen body drops nothing
        x = dropout(x, self.config.dropout, seed, 0)
        for layer in self.layers:
            x = layer(x, layout, rope, seed)
        return self.norm(x) if pre else x
