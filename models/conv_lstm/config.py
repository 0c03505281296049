"""The keys of `model: {kind: conv-lstm}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Convolutions over a spectrogram that halve its time, then long short-term memory that reads it both ways."""

    kind: Literal["conv-lstm"] = "conv-lstm"
    channels: int = Field(default=24, ge=1, description="of the convolutions")
    width: int = Field(default=96, ge=1, description="units of each direction")
    layers: int = Field(default=2, ge=1, description="of recurrent units")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on what the convolutions and the units give")
