"""The keys of `model: {kind: text-lstm}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Embeddings, one LSTM in each direction, maximum over the text, one linear layer."""

    kind: Literal["text-lstm"] = "text-lstm"
    embedding: int = Field(default=100, ge=1, description="numbers of a token")
    width: int = Field(default=100, ge=1, description="of the state in each direction")
    dropout: float = Field(default=0.5, ge=0, lt=1)
