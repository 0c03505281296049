"""Transcription as a task of the line: what each stage asks of it, and where in this folder that is done."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask
from pipelines.tasks.transcription.config import VALUES, EvaluateConfig, SpeechData, TranscriptionConfig

if TYPE_CHECKING:
    from pipelines.tasks.transcription.learner import Transcribes


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task`."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": TranscriptionConfig,
        "data": SpeechData,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in (*VALUES, "items")),
        *(f"baselines.{model}_{name}" for model in ("floor", "frames") for name in VALUES),
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe, data = self.recipe, self.recipe.data
        names = set(re.compile(data.text).groupindex) - {"text"} if data.text else set[str]()
        if recipe.split.method == "time" or recipe.split.per_class:
            yield "split: clips have no time and no class"
        groups = {
            "data.join.by": data.join.by if data.join else "",
            "evaluate.group": recipe.evaluate.group,
            "split.group": recipe.split.group or "",
        }
        for key, name in groups.items():
            if name and name not in names:
                yield f"{key}: {name} is no named group of data.text ({', '.join(sorted(names)) or 'it has none'})"
        if recipe.pretrained.source is not None:
            yield "pretrained.source: transcription begins with weights of its own"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Clips and texts → records, the signature, the alphabet and the scale of bands on train."""
        from pipelines.tasks.transcription.prepare import prepare

        prepare(self.recipe, raw, out)

    def learner(self, prepared: Path, first: Path | None) -> "Transcribes":
        """See `learner.Transcribes`."""
        from pipelines.tasks.transcription.learner import Transcribes

        return Transcribes(self.recipe, prepared)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.transcription.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.transcription.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.transcription.card import card

        return card(self.recipe, folder, evaluation, metrics)
