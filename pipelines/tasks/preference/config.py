"""The keys of a recipe that only preference tuning has; how rows become pairs is data/text/preferences.py's."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PreferenceConfig(BaseModel):
    """Learn which of two answers to prefer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["preference"] = "preference"
    loss: Literal["sigmoid", "ipo"] = Field(
        default="sigmoid", description="sigmoid: DPO; ipo: squared, on mean log-probabilities per token"
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="how much leaving the first weights costs: a smaller one lets the model go further",
    )
