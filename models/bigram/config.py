"""The keys of `model: {kind: bigram}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from models.common.config import StatefulConfig

if TYPE_CHECKING:
    import torch

    from models.bigram.model import Network


class Config(StatefulConfig):
    """A table of vocabulary × vocabulary."""

    kind: Literal["bigram"] = "bigram"


def language_model(config: Config, generator: "torch.Generator | None" = None) -> "Network":
    """The network; `generator` draws its first weights."""
    from models.bigram.model import Network

    return Network(config, generator)
