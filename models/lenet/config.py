"""The keys of `model: {kind: lenet}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.lenet.model import LeNet


class Config(ModelConfig):
    """Two convolutions of 5 x 5, max-pooling, two linear layers."""

    kind: Literal["lenet"] = "lenet"
    widths: tuple[int, int] = Field(default=(16, 32), description="channels of the two convolutions")
    hidden: int = Field(default=84, ge=1, description="units of the linear layer")
    dropout: float = Field(default=0.0, ge=0, lt=1)


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "LeNet":
    """The network with its first weights, for images [C, H, W]."""
    from models.lenet.model import LeNet

    return LeNet(config, shape, outputs, generator)
