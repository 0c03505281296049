"""Detection as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.detection.config import VALUES, BoxesData, DetectionConfig, EvaluateConfig
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask

if TYPE_CHECKING:
    from pipelines.tasks.detection.learner import Detects


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task`."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": DetectionConfig,
        "data": BoxesData,
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
        recipe = self.recipe
        if recipe.split.method == "time" or recipe.split.per_class or recipe.split.group is not None:
            yield "split: images with boxes have no time, no class and no group"
        if recipe.split.by not in (None, "list"):
            yield f"split.by: {recipe.split.by} is no column of images with boxes; there is `list`"
        if recipe.data.lists and recipe.split.by != "list":
            yield "data.lists: only split.by: list makes use of them"
        if recipe.pretrained.source is not None:
            yield "pretrained.source: detection begins with weights of its own"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Images and boxes → records, the signature, the scale of pixels on train."""
        from pipelines.tasks.detection.prepare import prepare

        prepare(self.recipe, raw, out)

    def learner(self, prepared: Path, first: Path | None) -> "Detects":
        """See `learner.Detects`."""
        from pipelines.tasks.detection.learner import Detects

        return Detects(self.recipe, prepared)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.detection.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.detection.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.detection.card import card

        return card(self.recipe, folder, metrics)
