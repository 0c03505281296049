"""The keys of `model: {kind: text-cnn}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.text_cnn.model import TextCNN


class Config(ModelConfig):
    """Embeddings, filters of several widths, each one's maximum over the text, one linear layer."""

    kind: Literal["text-cnn"] = "text-cnn"
    embedding: int = Field(default=128, ge=1, description="numbers of a token")
    filters: int = Field(default=128, ge=1, description="of each width")
    widths: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1, description="tokens that a filter sees, each ≥ 1")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="on the maxima")
    input_dropout: float = Field(default=0.0, ge=0, lt=1, description="on embeddings")


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "TextCNN":
    """The network with its first weights, for token ids [length, vocabulary]."""
    from models.text_cnn.model import TextCNN

    return TextCNN(config, shape[1], outputs, generator)
