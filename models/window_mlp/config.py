"""The keys of `model: {kind: window-mlp}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import Activation, StatefulConfig

if TYPE_CHECKING:
    import torch

    from models.window_mlp.model import Network


class Config(StatefulConfig):
    """Shape of the perceptron."""

    kind: Literal["window-mlp"] = "window-mlp"
    window: int = Field(default=3, ge=1, description="tokens that are seen, the newest included")
    width: int = Field(default=10, ge=1, description="of an embedding")
    hidden: int = Field(default=200, ge=1, description="width of the hidden layers")
    layers: int = Field(default=1, ge=1, description="hidden layers")
    activation: Activation = "tanh"


def language_model(config: Config, generator: "torch.Generator | None" = None) -> "Network":
    """The network; `generator` draws its first weights."""
    from models.window_mlp.model import Network

    return Network(config, generator)
