"""The keys of `model: {kind: recurrent}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import Activation, StatefulConfig


class Config(StatefulConfig):
    """Shape of the network."""

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn", "lstm", "gru"] = "gru"
    layers: int = Field(default=1, ge=1)
    width: int = Field(default=64, ge=1, description="of an embedding")
    hidden: int = Field(default=64, ge=1, description="width of the state")
    activation: Activation = Field(default="tanh", description="of the plain cell (rnn); the others have their own")
