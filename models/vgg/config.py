"""The keys of `model: {kind: vgg}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.vgg.model import VGG


class Config(ModelConfig):
    """Stages of 3 x 3 convolutions, each halved by max-pooling; mean over the image, one linear layer."""

    kind: Literal["vgg"] = "vgg"
    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1, description="channels of the stages")
    convolutions: int = Field(default=2, ge=1, description="of each stage")
    dropout: float = Field(default=0.0, ge=0, lt=1)


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "VGG":
    """The network with its first weights, for images [C, H, W]."""
    from models.vgg.model import VGG

    return VGG(config, shape[0], outputs, generator)
