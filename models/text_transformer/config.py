"""The keys of `model: {kind: text-transformer}`. Imports no torch."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Embeddings with places, blocks of attention over the whole text, mean over it, one linear layer."""

    kind: Literal["text-transformer"] = "text-transformer"
    layers: int = Field(default=2, ge=1)
    width: int = Field(default=96, ge=4, description="a multiple of heads")
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)

    def problems(self) -> Iterator[str]:
        """See `ModelConfig`."""
        if self.width % self.heads:
            yield f"model.width: {self.width} is not a multiple of model.heads ({self.heads})"
