"""The keys of `model: {kind: unet}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Convolutions down to small images and up again, each step up beside what the step down had."""

    kind: Literal["unet"] = "unet"
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, description="channels, from large images to small ones"
    )
