"""The keys of `model: {kind: resnet}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.resnet.model import ResNet


class Config(ModelConfig):
    """Stages of residual blocks of two 3 x 3 convolutions, mean over the image, one linear layer."""

    kind: Literal["resnet"] = "resnet"
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1, description="channels of the stages")
    blocks: int = Field(default=3, ge=1, description="residual blocks of a stage")
    stride: int = Field(default=1, ge=1, description="of the first convolution; 2 halves the image before any stage")


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "ResNet":
    """The network with its first weights, for images [C, H, W]."""
    from models.resnet.model import ResNet

    return ResNet(config, shape[0], outputs, generator)
