"""The keys of `model: {kind: fcos}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Convolutions down to small images, a path up to one grid, and an answer from each of its cells."""

    kind: Literal["fcos"] = "fcos"
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 96, 128), min_length=3, description="channels; each next one has half the height and width"
    )
    halvings: int = Field(
        default=3, ge=1, description="how often the grid of answers is halved: 3 is a cell of 8 pixels"
    )
    head: int = Field(default=64, ge=8, description="channels of the way up and of the head")
    layers: int = Field(default=2, ge=1, description="convolutions of the head")
