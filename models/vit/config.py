"""The keys of `model: {kind: vit}`. Imports no torch."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Patches, blocks of attention over all of them, mean over the patches, one linear layer."""

    kind: Literal["vit"] = "vit"
    patch: int = Field(default=4, ge=1, description="pixels of a patch's side; divides the image's height and width")
    layers: int = Field(default=4, ge=1)
    width: int = Field(default=64, ge=4, description="a multiple of heads")
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def problems(self) -> Iterator[str]:
        """See `ModelConfig`."""
        if self.width % self.heads:
            yield f"model.width: {self.width} is not a multiple of model.heads ({self.heads})"
