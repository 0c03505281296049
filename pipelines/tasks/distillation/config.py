"""The keys of a recipe that only distillation has; text becomes tokens as in language modelling."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.tasks.language_modelling.config import EvaluateConfig


class DistillationConfig(BaseModel):
    """Predict each next token as the text and a teacher do. The teacher is `pretrained.source`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["distillation"] = "distillation"
    k: int = Field(default=16, ge=1, le=1024, description="likeliest tokens of the teacher that are kept a place")
    temperature: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="what both models' logits are divided by: higher, flatter"
    )
    weight: float = Field(
        default=0.5, gt=0, le=1, description="of the teacher in the loss; the rest is the text's own next token"
    )
    context: int = Field(default=512, ge=2, description="tokens that the teacher sees at most")


class DistilledConfig(EvaluateConfig):
    """How the test split is scored, always against the same student without a teacher."""

    resamples: int = Field(default=10_000, ge=100, description="of the bootstrap over test documents")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="of the interval gain_low to gain_high")
