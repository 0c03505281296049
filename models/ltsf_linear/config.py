"""The keys of `model: {kind: ltsf-linear}`, and the way to the network. Imports no torch."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.ltsf_linear.model import Linear


class Config(ModelConfig):
    """One linear layer over time, the same for all channels."""

    kind: Literal["ltsf-linear"] = "ltsf-linear"
    form: Literal["linear", "nlinear", "dlinear"] = Field(
        default="nlinear", description="nlinear: relative to the last value; dlinear: trend and rest apart"
    )
    kernel: int = Field(default=25, ge=3, description="dlinear: steps of the moving average, an odd number")


def forecaster(
    config: Config, channels: int, context: int, horizon: int, levels: int, generator: "torch.Generator"
) -> "Linear":
    """The network with its first weights, which need no random numbers."""
    from models.ltsf_linear.model import Linear

    return Linear(config, context, horizon, levels)
