"""The keys of `model: {kind: efficientnet}`, and the way to the network. Imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.efficientnet.model import EfficientNet


class Config(ModelConfig):
    """EfficientNet-lite0, whose layers are fixed; the last linear layer is new."""

    kind: Literal["efficientnet"] = "efficientnet"
    dropout: float = Field(default=0.2, ge=0, lt=1, description="before the last linear layer")


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "EfficientNet":
    """The network with random first weights, for images [3, H, W]. Raises ValueError: other channels."""
    from models.efficientnet.model import EfficientNet

    if shape[0] != 3:
        raise ValueError("EfficientNet takes images of 3 channels: data.channels")
    return EfficientNet(config, outputs, generator)


def first(body: "nn.Module", files: Path) -> None:
    """Put the one .pth file below `files` into the network, all but its head. Raises MetrolineError."""
    from models.efficientnet.model import fill

    fill(body, files)
