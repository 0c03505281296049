"""The keys of `model: {kind: efficientnet}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """EfficientNet-lite0, whose layers are fixed; the last linear layer is new."""

    kind: Literal["efficientnet"] = "efficientnet"
    dropout: float = Field(default=0.2, ge=0, lt=1, description="before the last linear layer")
