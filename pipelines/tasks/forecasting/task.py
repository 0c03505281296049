"""Forecasting as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.forecasting.config import EvaluateConfig, ForecastingConfig, SeriesData
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask

if TYPE_CHECKING:
    from pipelines.tasks.forecasting.learner import Forecasts

VALUES = ("mse", "mae", "quantile_loss")
NAIVE = ("floor", "repeat_last", "seasonal_naive")


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task`."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": ForecastingConfig,
        "data": SeriesData,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in (*VALUES, "coverage", "coverage_error", "items")),
        *(f"baselines.{model}_{name}" for model in NAIVE for name in VALUES),
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        split = self.recipe.split
        if split.method != "time":
            yield f"split.method: a series is split by time, not by {split.method}; by: names the column of the time"
        if split.by is not None and split.by in self.recipe.data.columns:
            yield f"data.columns: {split.by} is split.by, the time, which is no channel"
        if not split.valid:
            yield "split.valid: quantiles are calibrated on the validation split, so it must be above 0"
        if self.recipe.pretrained.source is not None:
            yield "pretrained.source: forecasters begin with weights of their own"
        if split.per_class or split.group is not None:
            yield "split: per_class and group have no effect on a series"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Rows → one array of steps with borders, the signature, and the scale of each channel on train."""
        from pipelines.tasks.forecasting.prepare import prepare

        prepare(self.recipe, raw, out)

    def learner(self, prepared: Path, first: Path | None) -> "Forecasts":
        """See `learner.Forecasts`."""
        from pipelines.tasks.forecasting.learner import Forecasts

        return Forecasts(self.recipe, prepared)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.forecasting.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.forecasting.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.forecasting.card import card

        return card(self.recipe, folder, metrics)
