"""The keys of a recipe that only forecasting has."""

from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.tables.config import RowsConfig, suffixes_of


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ForecastingConfig(_Section):
    """Say the next steps of a series: their mean, and quantiles that tell how sure it is."""

    kind: Literal["forecasting"] = "forecasting"
    horizon: int = Field(default=24, ge=1, description="steps ahead")
    quantiles: tuple[float, ...] = Field(default=(0.1, 0.5, 0.9), min_length=1, description="rising, between 0 and 1")
    season: int = Field(default=0, ge=0, description="steps of a season, for the naive forecast that repeats the last "
                                                     "one; 0: a day, of days a week, of months a year")  # fmt: skip

    @field_validator("quantiles")
    @classmethod
    def _rise(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < each < 1 for each in quantiles) or any(a >= b for a, b in pairwise(quantiles)):
            raise ValueError(f"must rise and lie between 0 and 1, not {list(quantiles)}")
        return quantiles


class SeriesData(_Section):
    """Rows with a time (`split.by`) and numbers, a step each. They may stand in any order."""

    kind: Literal["series"] = "series"
    rows: RowsConfig = RowsConfig()
    columns: tuple[str, ...] = Field(
        default=(), description="channels, which are seen and forecast; empty: all columns but the time"
    )
    context: int = Field(default=512, ge=2, description="steps that the network looks back")
    steps: int = Field(default=0, ge=0, description="take only so many steps, the oldest ones; 0: all")
    gaps: Literal["stop", "fill"] = Field(
        default="stop", description="what a time that is missing does; fill: a step without values"
    )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return suffixes_of(self.rows)


class EvaluateConfig(_Section):
    """How the test split is scored."""

    primary: Literal["mse", "mae", "quantile_loss"] = Field(
        default="mse", description="the value of `test.` that says how good a model is, on the standard scale"
    )
