"""The keys of `model: {kind: patchtst}`. Imports no torch."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Overlapping patches of a series as tokens, blocks of attention, one linear layer over all of them."""

    kind: Literal["patchtst"] = "patchtst"
    patch: int = Field(default=16, ge=1, description="steps of a patch")
    stride: int = Field(default=8, ge=1, description="steps from one patch to the next")
    layers: int = Field(default=3, ge=1)
    width: int = Field(default=32, ge=4, description="a multiple of heads")
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    def problems(self) -> Iterator[str]:
        """See `ModelConfig`."""
        if self.width % self.heads:
            yield f"model.width: {self.width} is not a multiple of model.heads ({self.heads})"
