"""The keys of `model: {kind: wavenet}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import Activation, StatefulConfig


class Config(StatefulConfig):
    """Shape of the tree."""

    kind: Literal["wavenet"] = "wavenet"
    layers: int = Field(default=3, ge=1, le=12, description="of the tree; 2^layers tokens are seen")
    width: int = Field(default=24, ge=1, description="of an embedding")
    hidden: int = Field(default=128, ge=1, description="channels of each layer")
    activation: Activation = "tanh"
