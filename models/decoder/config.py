"""What a decoder looks like: one schema for GPT-2-like and Llama-like models.

Imports no torch, so that a recipe can be checked quickly; `models.decoder.model` builds the network.
"""

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from models.common.config import ModelConfig


def _default_hidden(values: dict[str, object]) -> int:
    """4 × width; for SwiGLU, which has a third matrix, the usual 8/3 × width, rounded up to a multiple of 64."""
    width = int(values.get("width", 0))  # type: ignore[call-overload]
    return math.ceil(width * 8 / 3 / 64) * 64 if values.get("activation") == "swiglu" else 4 * width


class DecoderConfig(ModelConfig):
    """Shape and style of a decoder. Llama's by default; GPT-2's: learned positions, layernorm, gelu, bias."""

    kind: Literal["decoder"] = "decoder"
    vocab_size: int = Field(default=0, ge=0, description="0: filled in from the prepared data")
    context: int = Field(default=256, ge=1, description="longest sequence, in tokens")
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1, description="query heads")
    kv_heads: int = Field(
        default_factory=lambda values: values.get("heads", 0), ge=1, description="key and value heads"
    )
    width: int = Field(default=128, ge=1, description="of the residual stream")
    head_dim: int = Field(
        default_factory=lambda values: values.get("width", 1) // values.get("heads", 1),
        ge=1,
        description="width of one head; default width / heads",
    )
    positions: Literal["rope", "learned"] = "rope"
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    activation: Literal["swiglu", "gelu", "relu2"] = "swiglu"
    hidden: int = Field(default_factory=_default_hidden, ge=1, description="width inside the feed-forward block")
    qk_norm: bool = Field(default=False, description="RMSNorm over each head of q and k before RoPE, as Qwen3 has it")
    tied: bool = Field(default=True, description="the output head is the embedding")
    bias: bool = Field(default=False, description="in every linear layer and in LayerNorm")
    rope_theta: float = Field(default=10_000.0, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1, description="on embeddings and on what each block adds")
    init_std: float = Field(
        default=0.02, gt=0, description="of initial weights; residual outputs get it / sqrt(2·layers)"
    )
    residual_init: Literal["scaled", "zero"] = Field(
        default="scaled", description="of what writes to the residual stream; zero: a block begins by changing nothing"
    )

    @model_validator(mode="after")
    def _shapes(self) -> "DecoderConfig":
        if "head_dim" not in self.model_fields_set and self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.positions == "rope" and self.head_dim % 2:
            raise ValueError(f"RoPE needs an even head_dim, not {self.head_dim}")
        return self

    @property
    def head_multiple(self) -> int:
        """What ONNX Runtime's fused attention needs `head_dim` to be a multiple of: its rotation takes 16 numbers at a
        time. Training and the Hugging Face folder take any `head_dim`."""
        return 16 if self.positions == "rope" else 8

    def problems(self) -> Iterator[str]:
        """What ONNX Runtime's attention does not take."""
        if self.head_dim % self.head_multiple:
            why = "with RoPE" if self.positions == "rope" else "with learned positions"
            yield (
                f"model.head_dim: {self.head_dim} is not a multiple of {self.head_multiple}, which ONNX Runtime's "
                f"attention needs {why}; change width or heads ({self.width} / {self.heads}), or set head_dim"
            )


Config = DecoderConfig
"""What recipes find by the name of the kind."""
