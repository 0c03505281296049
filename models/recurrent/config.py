"""The keys of `model: {kind: recurrent}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import Activation, StatefulConfig

if TYPE_CHECKING:
    import torch

    from models.recurrent.model import Network


class Config(StatefulConfig):
    """Shape of the network."""

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn", "lstm", "gru"] = "gru"
    layers: int = Field(default=1, ge=1)
    width: int = Field(default=64, ge=1, description="of an embedding")
    hidden: int = Field(default=64, ge=1, description="width of the state")
    activation: Activation = Field(default="tanh", description="of the plain cell (rnn); the others have their own")


def language_model(config: Config, generator: "torch.Generator | None" = None) -> "Network":
    """The network; `generator` draws its first weights."""
    from models.recurrent.model import Network

    return Network(config, generator)
