"""One decoder-only transformer: GPT-2 or Llama by configuration, with a key/value cache for generation and export.

    model = Decoder(DecoderConfig(vocab_size=4096), torch.Generator().manual_seed(0))
    logits = model(tokens)                                 # [B, S] → [B, S, V]
    features = model.features(tokens)                      # for a fused head and loss, with model.head.weight

No reading or writing of files (`models.decoder.huggingface`), no loss, no sampling. Parameter names are Hugging Face's
for Llama; attention is `kernels.attention`.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels import (
    Packing,
    attention,
    cached_attention,
    pack,
    positions_of,
    relu2,
    rms_norm,
    rotary_qkv,
    rotary_tables,
    swiglu,
)
from kernels import positions as document_positions
from models.adapters import hidden_numbers, project
from models.common.dropout import dropout

if TYPE_CHECKING:
    from models.decoder.config import DecoderConfig  # pydantic, which a GPU machine that runs a benchmark need not have

Cache = tuple[Tensor, Tensor]  # keys, values: [B, Hkv, P, D] each


class RMSNorm(nn.Module):
    """x / rms(x) · weight over the last dimension (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] → [..., W] in x's dtype."""
        if torch.is_grad_enabled():
            return rms_norm(x, self.eps) * self.weight
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)  # one operator, for exported graphs


def _norm(config: "DecoderConfig") -> nn.Module:
    if config.norm == "rmsnorm":
        return RMSNorm(config.width, config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)


def _norm_linear(norm: nn.Module, linears: list[nn.Linear], x: Tensor) -> Tensor:
    """Normalise, then several linear layers as one product: [..., W] → [..., N]. RMSNorm's weight goes into theirs.

    The parameters stay apart, as checkpoints and optimizers (Muon takes each matrix alone) want them; joining them
    costs a copy of the weights, which is small beside a training step's activations. Frozen ones, which may have
    adapters, are multiplied by as they are: nothing of them has to be kept for the backward pass.
    """
    if not linears[0].weight.requires_grad:
        if isinstance(norm, RMSNorm):
            return project(rms_norm(x, norm.eps), linears, norm.weight)
        return project(norm(x), linears)
    weight = torch.cat([linear.weight for linear in linears]) if len(linears) > 1 else linears[0].weight
    bias = None if linears[0].bias is None else torch.cat([linear.bias for linear in linears])
    if isinstance(norm, RMSNorm):
        return F.linear(rms_norm(x, norm.eps), weight * norm.weight, bias)
    return F.linear(norm(x), weight, bias)


class Attention(nn.Module):
    """Projections, QK-norm and RoPE around `kernels.attention`."""

    def __init__(self, config: "DecoderConfig") -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.eps = config.norm_eps
        self.q_proj = nn.Linear(config.width, config.heads * self.head_dim, bias=config.bias)
        self.k_proj = nn.Linear(config.width, config.kv_heads * self.head_dim, bias=config.bias)
        self.v_proj = nn.Linear(config.width, config.kv_heads * self.head_dim, bias=config.bias)
        self.o_proj = nn.Linear(config.heads * self.head_dim, config.width, bias=config.bias)
        self.q_norm = RMSNorm(self.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, norm: nn.Module, rope: Cache | None, packing: Packing | None) -> Tensor:
        """[B, S, W] → [B, S, W], x not yet normalised. `rope`: cos, sin [1 or B, S, 1, D / 2]."""
        qkv = _norm_linear(norm, [self.q_proj, self.k_proj, self.v_proj], x)
        weights = None if self.q_norm is None or self.k_norm is None else (self.q_norm.weight, self.k_norm.weight)
        q, k, v = rotary_qkv(qkv, self.heads, self.kv_heads, rope, weights, self.eps)
        out = attention(q, k, v, packing=packing)
        return self.o_proj(out.reshape(x.shape[0], x.shape[1], -1))

    def forward_cached(
        self, x: Tensor, past: Cache, lengths: Tensor, total: Tensor | None, tables: Cache | None
    ) -> tuple[Tensor, Cache]:
        """The same over a cache, x normalised; `tables`: RoPE's cos, sin [context, D / 2]."""
        q = self.q_proj(x).unflatten(-1, (self.heads, self.head_dim))
        k = self.k_proj(x).unflatten(-1, (self.kv_heads, self.head_dim))
        v = self.v_proj(x).unflatten(-1, (self.kv_heads, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        cos, sin = tables if tables is not None else (None, None)
        out, present_k, present_v = cached_attention(q, k, v, *past, lengths, total=total, cos=cos, sin=sin)
        return self.o_proj(out.flatten(2)), (present_k, present_v)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020), GELU in GPT-2's tanh form, or squared ReLU (So et al. 2021)."""

    def __init__(self, config: "DecoderConfig") -> None:
        super().__init__()
        self.activation = config.activation
        if config.activation == "swiglu":
            self.gate_proj = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.up_proj = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.down_proj = nn.Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        """[B, S, W] → [B, S, W], x not yet normalised."""
        if self.activation == "swiglu":
            return self.down_proj(swiglu(_norm_linear(norm, [self.gate_proj, self.up_proj], x)))
        up = _norm_linear(norm, [self.up_proj], x)
        return self.down_proj(relu2(up) if self.activation == "relu2" else F.gelu(up, approximate="tanh"))

    def forward_cached(self, x: Tensor) -> Tensor:
        """The same with one product for each matrix, x normalised: for a few tokens joining weights costs too much."""
        if self.activation == "swiglu":
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        up = self.up_proj(x)
        return self.down_proj(F.relu(up).square() if self.activation == "relu2" else F.gelu(up, approximate="tanh"))


class Block(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, config: "DecoderConfig", layer: int) -> None:
        super().__init__()
        self.rate, self.layer = config.dropout, layer
        self.input_layernorm = _norm(config)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = _norm(config)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, rope: Cache | None, packing: Packing | None, seed: Tensor | None) -> Tensor:
        """[B, S, W] → [B, S, W]."""
        added = self.self_attn(x, self.input_layernorm, rope, packing)
        x = x + self.drop(added, seed, 1)
        return x + self.drop(self.mlp(x, self.post_attention_layernorm), seed, 2)

    def drop(self, x: Tensor, seed: Tensor | None, site: int) -> Tensor:
        """Dropout at one of the block's two sites. The layer is read only where it is needed: torch.compile would
        otherwise make one graph for each layer instead of one for all."""
        return dropout(x, self.rate, seed, 2 * self.layer + site) if self.rate and seed is not None else x

    def forward_cached(
        self, x: Tensor, past: Cache, lengths: Tensor, total: Tensor | None, tables: Cache | None
    ) -> tuple[Tensor, Cache]:
        """The same over a cache."""
        added, present = self.self_attn.forward_cached(self.input_layernorm(x), past, lengths, total, tables)
        x = x + added
        return x + self.mlp.forward_cached(self.post_attention_layernorm(x)), present


class Decoder(nn.Module):
    """Token ids → logits. Set `activation_checkpointing` to recompute each block in the backward pass.

    `generator` draws the initial weights (same seed, same weights); without it weights are left as PyTorch makes them,
    for a model whose weights are then loaded. Raises ValueError for a configuration with no vocabulary.
    """

    def __init__(self, config: "DecoderConfig", generator: torch.Generator | None = None) -> None:
        super().__init__()
        if config.vocab_size < 1:
            raise ValueError("Decoder: vocab_size is not set")
        self.config = config
        self.cos: Tensor
        self.sin: Tensor
        self.activation_checkpointing = False
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.embed_positions = nn.Embedding(config.context, config.width) if config.positions == "learned" else None
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = _norm(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.embed_tokens.weight
        if config.positions == "rope":
            cos, sin = rotary_tables(config.context, config.head_dim, config.rope_theta)
            self.register_buffer("cos", cos, persistent=False)  # [context, D / 2]
            self.register_buffer("sin", sin, persistent=False)
        if generator is not None:
            self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw weights as GPT-2 does: normal, smaller or zero where a block writes to the residual stream."""
        scaled = self.config.init_std / (2 * self.config.layers) ** 0.5
        residual = 0.0 if self.config.residual_init == "zero" else scaled
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.dim() == 1:
                weight.fill_(1.0)
            else:
                std = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else self.config.init_std
                weight.normal_(0.0, std, generator=generator)

    @property
    def head_weight(self) -> Tensor:
        """[V, W] of the output head: logits = features @ head_weight.T."""
        return self.lm_head.weight

    def features(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        branches: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """Token ids [B, S] → final normalised features [B, S, W].

        Args:
            tokens: int64 [B, S], S at most `config.context`; with cu_seqlens each document at most that.
            positions: int64 [B, S]; default 0 to S - 1, or counted within each document.
            cu_seqlens: int32 [N + 1], documents packed in the B·S tokens, which do not attend to each other. The
                first is 0, the last B·S, and every row starts a document.
            branches: int64 [B, S], with cu_seqlens and positions, on a CPU: see `kernels.attention.packing.pack`.
            seed: int64 [] on the CPU, dropout's seed; needed in training mode where the rate is not 0.
        """
        config = self.config
        if self.training and config.dropout and seed is None:
            raise ValueError("Decoder: dropout needs a seed in training mode")
        if not self.training:
            seed = None
        batch, length = tokens.shape
        if cu_seqlens is None and length > config.context:
            raise ValueError(f"Decoder: {length} tokens are more than the context of {config.context}")
        packing = None
        if cu_seqlens is not None:
            packing = pack(cu_seqlens, batch, length, branches)
            positions = document_positions(cu_seqlens, batch, length) if positions is None else positions
        x = self.embed_tokens(tokens)
        rope = None
        if self.embed_positions is not None:
            table = self.embed_positions.weight
            x = x + (table[:length] if positions is None else F.embedding(positions, table))
        else:
            tables = (self.cos, self.sin)
            rope = tuple((t[:length] if positions is None else t[positions]).unsqueeze(-2) for t in tables)
        x = dropout(x, config.dropout, seed, 0)
        for block in self.layers:
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, rope, packing, seed, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, rope, packing, seed)
        return self.norm(x)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """Token ids [B, S] → logits [B, S, V]; arguments as `features`."""
        return self.lm_head(self.features(tokens, positions=positions, cu_seqlens=cu_seqlens, seed=seed))

    def forward_cached(
        self,
        tokens: Tensor,
        past: list[Cache],
        lengths: Tensor,
        total: Tensor | None = None,
        logits_at: Tensor | None = None,
    ) -> tuple[Tensor, list[Cache]]:
        """Prefill or decode: (logits [B, S, V] of the new tokens, the cache with them).

        Args:
            tokens: int64 [B, S], the new tokens.
            past: a (k, v) for each layer, [B, Hkv, P, D] each; P = 0 to begin (`empty_cache`).
            lengths: int [B], valid tokens in each row with the new ones; `kernels.attention.cached` has the rules for
                ragged
                batches (in short: pad prompts on the right, then go on with each row's own length).
            total: int32 [], the longest row with the new ones; only for the ONNX graph.
            logits_at: int64 [R], which of the B·S new tokens get logits; these are [R, V] then.

        To export, wrap the model in `models.decoder.cached.CachedDecoder`, which takes and returns flat tensors.
        """
        x = self.embed_tokens(tokens)
        tables = None
        if self.embed_positions is not None:
            x = x + self.embed_positions(positions_of(lengths, tokens.shape[1]))
        else:
            tables = (self.cos, self.sin)
        presents: list[Cache] = []
        for block, cache in zip(self.layers, past, strict=True):
            assert isinstance(block, Block)
            x, present = block.forward_cached(x, cache, lengths, total, tables)
            presents.append(present)
        if logits_at is not None:  # the head of a large vocabulary costs as much as many layers
            x = x.flatten(0, 1).index_select(0, logits_at)
        return self.lm_head(self.norm(x)), presents

    def empty_cache(self, batch: int) -> list[Cache]:
        """The cache before the first token."""
        shape = (batch, self.config.kv_heads, 0, self.config.head_dim)
        weight = self.embed_tokens.weight
        return [(weight.new_zeros(shape), weight.new_zeros(shape)) for _ in self.layers]

    @property
    def parameter_count(self) -> int:
        """Number of weights, tied ones counted once."""
        return sum(weight.numel() for weight in self.parameters())

    def flops_per_token(self, sequence: int) -> int:
        """Floating-point operations to train on one token at a sequence length, forward and backward.

        6 for each weight that is multiplied (all but embedding look-ups), 4 for a frozen one, and for attention 12 ·
        layers · heads · head_dim · sequence (PaLM, Chowdhery et al. 2022, appendix B), halved because it is causal.
        """
        looked_up = [self.embed_positions.weight] if self.embed_positions is not None else []
        looked_up += [] if self.config.tied else [self.embed_tokens.weight]
        attended = 6 * self.config.layers * self.config.heads * self.config.head_dim * sequence
        each = ((6 if weight.requires_grad else 4) * weight.numel() for weight in self.parameters())
        packed = 4 * hidden_numbers(self)
        return packed + sum(each) - sum((6 if w.requires_grad else 4) * w.numel() for w in looked_up) + attended
