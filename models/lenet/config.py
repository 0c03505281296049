"""The keys of `model: {kind: lenet}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Two convolutions of 5 x 5, max-pooling, two linear layers."""

    kind: Literal["lenet"] = "lenet"
    widths: tuple[int, int] = Field(default=(16, 32), description="channels of the two convolutions")
    hidden: int = Field(default=84, ge=1, description="units of the linear layer")
    dropout: float = Field(default=0.0, ge=0, lt=1)
