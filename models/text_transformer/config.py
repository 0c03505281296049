"""The keys of `model: {kind: text-transformer}`, and the way to the network. Imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.text_transformer.model import TextTransformer


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


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "TextTransformer":
    """The network with its first weights, for token ids [length, vocabulary]."""
    from models.text_transformer.model import TextTransformer

    return TextTransformer(config, shape, outputs, generator)
