"""The keys of `model: {kind: text-cnn}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Embeddings, filters of several widths, each one's maximum over the text, one linear layer."""

    kind: Literal["text-cnn"] = "text-cnn"
    embedding: int = Field(default=128, ge=1, description="numbers of a token")
    filters: int = Field(default=128, ge=1, description="of each width")
    widths: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1, description="tokens that a filter sees, each ≥ 1")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="on the maxima")
    input_dropout: float = Field(default=0.0, ge=0, lt=1, description="on embeddings")
