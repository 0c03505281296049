"""The keys of `model: {kind: patchtst}`, and the way to the network. Imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.patchtst.model import PatchTST


class Config(ModelConfig):
    """Overlapping patches of a series as tokens, blocks of attention, one linear layer over all of them."""

    kind: Literal["patchtst"] = "patchtst"
    patch: int = Field(default=16, ge=1, description="steps of a patch")
    stride: int = Field(default=8, ge=1, description="steps from one patch to the next")
    layers: int = Field(default=3, ge=1)
    width: int = Field(default=32, ge=4, description="a multiple of heads")
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    def problems(self) -> Iterator[str]:
        """See `ModelConfig`."""
        if self.width % self.heads:
            yield f"model.width: {self.width} is not a multiple of model.heads ({self.heads})"


def forecaster(
    config: Config, channels: int, context: int, horizon: int, levels: int, generator: "torch.Generator"
) -> "PatchTST":
    """The network with its first weights. Raises ValueError: a history that is shorter than a patch."""
    from models.patchtst.model import PatchTST

    if context < config.patch:
        raise ValueError(f"model.patch ({config.patch}) is longer than data.context ({context})")
    return PatchTST(config, context, horizon, levels, generator)
