"""Stage `evaluate`: how well does the checkpoint predict the test split, and is that better than simple baselines?

    metroline stage evaluate speeches

It changes nothing of the model. The numbers are the same whenever the same checkpoint is evaluated on the same machine.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EvaluateConfig(BaseModel):
    """How the test split is scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context: int | None = Field(
        default=None, ge=2, description="tokens that one window shows; None: the model's context"
    )
    stride: float = Field(
        default=0.5, gt=0, le=1, description="part of a window that is scored; the rest is context only (1: no overlap)"
    )
    batch_tokens: int = Field(default=8192, ge=1, description="tokens in one batch, padding included")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="arithmetic of the matrix products")
    group_by: Literal["decade", "year"] | None = Field(
        default=None, description="also give the loss per group of documents, from their meta `year`"
    )
    prompts: tuple[str, ...] = Field(default=(), description="beginnings of samples; none: how test documents begin")
    samples: int = Field(default=3, ge=0, description="samples to draw when no prompts are given")
    sample_tokens: int = Field(default=100, ge=1, description="tokens of one sample, its prompt not counted")
    temperature: float = Field(default=0.8, ge=0, description="of the samples; 0: always the likeliest token")
    seed: int = Field(default=0, ge=0, description="of the samples")
    reference_tokens: int = Field(default=64, ge=2, description="length of the prompts that drift is later judged by")
    reference_windows: int = Field(default=512, ge=2, description="most prompts in the drift reference")
