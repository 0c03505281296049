"""Classification: which of some labels an image, a text or a row of a table has."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.supervised import metrics
from pipelines.tasks.supervised.base import SupervisedTask, every_name
from pipelines.tasks.supervised.config import DataConfig, EvaluateConfig


class ClassificationConfig(BaseModel):
    """Choose one label of several."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["classification"] = "classification"
    threshold: Literal["likeliest", "f1"] = Field(
        default="likeliest", description="how an answer is chosen of two labels: f1: from the score of the second one "
                                         "on at which F1 on valid is highest"
    )  # fmt: skip


class Task(SupervisedTask):
    """`pipelines.tasks.interface.Task`."""

    what = "classification"
    values = (*metrics.CLASSIFICATION, *metrics.BINARY)
    sections: ClassVar[Mapping[str, Any]] = {
        "task": ClassificationConfig,
        "data": DataConfig,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = every_name(values, metrics.REFERENCES)
