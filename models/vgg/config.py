"""The keys of `model: {kind: vgg}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Stages of 3 x 3 convolutions, each halved by max-pooling; mean over the image, one linear layer."""

    kind: Literal["vgg"] = "vgg"
    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1, description="channels of the stages")
    convolutions: int = Field(default=2, ge=1, description="of each stage")
    dropout: float = Field(default=0.0, ge=0, lt=1)
