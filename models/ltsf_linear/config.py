"""The keys of `model: {kind: ltsf-linear}`. Imports no torch."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """One linear layer over time, the same for all channels."""

    kind: Literal["ltsf-linear"] = "ltsf-linear"
    form: Literal["linear", "nlinear", "dlinear"] = Field(
        default="nlinear", description="nlinear: relative to the last value; dlinear: trend and rest apart"
    )
    kernel: int = Field(default=25, ge=3, description="dlinear: steps of the moving average, an odd number")
