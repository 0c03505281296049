"""The keys of `model: {kind: mlp}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Linear layers with GELU between them."""

    kind: Literal["mlp"] = "mlp"
    widths: tuple[int, ...] = Field(default=(128, 128), min_length=1, description="of the hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of hidden units that training drops")
