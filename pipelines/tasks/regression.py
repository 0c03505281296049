"""Regression: a number of an image, a text or a row of a table."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.supervised import metrics
from pipelines.tasks.supervised.base import SupervisedTask, every_name
from pipelines.tasks.supervised.config import DataConfig, EvaluateConfig


class RegressionConfig(BaseModel):
    """Predict a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["regression"] = "regression"
    name: str = Field(default="value", pattern=r"[a-z][a-z0-9_]*", description="of the answer in the signature")
    units: tuple[str, ...] = Field(default=(), max_length=1, description="of the number, such as USD")


class Task(SupervisedTask):
    """`pipelines.tasks.interface.Task`."""

    what = "regression"
    values = metrics.REGRESSION
    sections: ClassVar[Mapping[str, Any]] = {
        "task": RegressionConfig,
        "data": DataConfig,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = every_name(values, metrics.REFERENCES)

    def problems(self) -> Iterator[str]:
        """Also what a number can have none of."""
        yield from super().problems()
        if self.recipe.data.labels:
            yield "data.labels: a regression has none"
        if not hasattr(self.recipe.data, "target"):
            yield "data.kind: a regression's target must be a number, which the paths of files are not"
        if self.recipe.split.per_class:
            yield "split.per_class: a regression has no labels"
