"""The keys of `model: {kind: resnet}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Stages of residual blocks of two 3 x 3 convolutions, mean over the image, one linear layer."""

    kind: Literal["resnet"] = "resnet"
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1, description="channels of the stages")
    blocks: int = Field(default=3, ge=1, description="residual blocks of a stage")
    stride: int = Field(default=1, ge=1, description="of the first convolution; 2 halves the image before any stage")
