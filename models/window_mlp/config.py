"""The keys of `model: {kind: window-mlp}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import Activation, StatefulConfig


class Config(StatefulConfig):
    """Shape of the perceptron."""

    kind: Literal["window-mlp"] = "window-mlp"
    window: int = Field(default=3, ge=1, description="tokens that are seen, the newest included")
    width: int = Field(default=10, ge=1, description="of an embedding")
    hidden: int = Field(default=200, ge=1, description="width of the hidden layers")
    layers: int = Field(default=1, ge=1, description="hidden layers")
    activation: Activation = "tanh"
