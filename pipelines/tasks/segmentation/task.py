"""Segmentation as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask
from pipelines.tasks.segmentation.config import VALUES, EvaluateConfig, MasksData, SegmentationConfig

if TYPE_CHECKING:
    from pipelines.tasks.segmentation.learner import Segments


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task`."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": SegmentationConfig,
        "data": MasksData,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in (*VALUES, "items")),
        *(f"baselines.floor_{name}" for name in VALUES),
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe, data = self.recipe, self.recipe.data
        if recipe.task.subject and recipe.task.subject not in data.labels:
            yield f"task.subject: {recipe.task.subject} is none of data.labels ({', '.join(data.labels)})"
        if data.crop > min(data.height, data.width):
            yield f"data.crop: {data.crop} is larger than the image ({data.height} x {data.width})"
        if data.turn and not data.crop and data.height != data.width:
            yield "data.turn: a quarter turn needs square images; set data.crop"
        if recipe.split.method == "time" or recipe.split.per_class or recipe.split.group is not None:
            yield "split: images with masks have no time, no class and no group"
        if recipe.pretrained.source is not None:
            yield "pretrained.source: segmentation begins with weights of its own"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Images and masks → records, the signature, the scale of pixels on train."""
        from pipelines.tasks.segmentation.prepare import prepare

        prepare(self.recipe, raw, out)

    def learner(self, prepared: Path, first: Path | None) -> "Segments":
        """See `learner.Segments`."""
        from pipelines.tasks.segmentation.learner import Segments

        return Segments(self.recipe, prepared)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.segmentation.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.segmentation.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.segmentation.card import card

        return card(self.recipe, folder, metrics)
