"""The keys of `model: {kind: text-lstm}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.text_lstm.model import TextLSTM


class Config(ModelConfig):
    """Embeddings, one LSTM in each direction, maximum over the text, one linear layer."""

    kind: Literal["text-lstm"] = "text-lstm"
    embedding: int = Field(default=100, ge=1, description="numbers of a token")
    width: int = Field(default=100, ge=1, description="of the state in each direction")
    dropout: float = Field(default=0.5, ge=0, lt=1)


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "TextLSTM":
    """The network with its first weights, for token ids [length, vocabulary]."""
    from models.text_lstm.model import TextLSTM

    return TextLSTM(config, shape[1], outputs, generator)
