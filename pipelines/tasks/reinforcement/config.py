"""The keys of a recipe that only reinforcement learning has; text becomes prompts and given answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from base.errors import nearest
from pipelines.tasks.reinforcement.rewards import REWARDS


class ReinforcementConfig(BaseModel):
    """Answer prompts so that a function rewards the answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["reinforcement"] = "reinforcement"
    reward: str = Field(description=f"the function: {', '.join(sorted(REWARDS))}")
    prompt_end: str = Field(default="=", min_length=1, description="what a document's prompt ends with, at its first")
    group: int = Field(default=8, ge=2, description="answers drawn a prompt, which are compared with each other")
    answer_tokens: int = Field(default=16, ge=1, description="tokens of an answer at most, its end included")
    clip: float = Field(default=0.2, gt=0, lt=1, description="how far the ratio to the drawing policy counts")
    kl: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="cost of leaving the first weights; 0: no reference is held"
    )

    @field_validator("reward")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in REWARDS:
            raise ValueError(f"no reward is called {name!r}; {nearest(name, sorted(REWARDS))}")
        return name


class RewardedConfig(BaseModel):
    """How the test split is answered and judged, always against the first weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resamples: int = Field(default=10_000, ge=100, description="of the bootstrap over test prompts")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="of the interval gain_low to gain_high")
    seed: int = Field(default=0, ge=0, description="of the bootstrap")
    batch: int = Field(default=64, ge=1, description="prompts answered at once")
    samples: int = Field(default=5, ge=0, description="answers shown in the model card")
    reference_tokens: int = Field(default=64, ge=2, description="length of the prompts that drift is later judged by")
    reference_windows: int = Field(default=512, ge=2, description="most prompts in the drift reference")
