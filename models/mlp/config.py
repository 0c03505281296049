"""The keys of `model: {kind: mlp}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.mlp.model import MLP


class Config(ModelConfig):
    """Linear layers with GELU between them."""

    kind: Literal["mlp"] = "mlp"
    widths: tuple[int, ...] = Field(default=(128, 128), min_length=1, description="of the hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of hidden units that training drops")


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "MLP":
    """The network with its first weights, for items of `shape`."""
    from models.mlp.model import MLP

    inputs = 1
    for size in shape:
        inputs *= size
    return MLP(config, inputs, outputs, generator)
