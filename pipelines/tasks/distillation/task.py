"""Distillation as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pipelines.recipe.export_section import DecodeExport
from pipelines.tasks.distillation.config import DistillationConfig, DistilledConfig
from pipelines.tasks.interface import Card, Measured
from pipelines.tasks.language_modelling.config import TextConfig
from pipelines.tasks.language_modelling.task import Task as LanguageModelling

if TYPE_CHECKING:
    from pipelines.tasks.distillation.learner import Distilled


class Task(LanguageModelling):
    """`pipelines.tasks.interface.Task` of predicting text as a teacher does. Exported and served as any decoder."""

    sections: ClassVar[Mapping[str, type[BaseModel]]] = {
        "task": DistillationConfig,
        "data": TextConfig,
        "evaluate": DistilledConfig,
        "export": DecodeExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *LanguageModelling.measured,
        *(f"test.{name}" for name in ("gain", "gain_low", "gain_high", "documents")),
        *(f"baselines.{name}" for name in ("alone_loss", "teacher_loss")),
    )

    def _problems_of_first(self) -> Iterator[str]:
        """What the teacher, which `pretrained.source` is here, contradicts."""
        recipe = self.recipe
        if recipe.pretrained.source is None:
            yield "pretrained.source: a student needs a teacher: {kind: recipe, name: smollm2}"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: the teacher is not trained anyway"
        if (kind := recipe.data.tokenizer.kind) != "pretrained":
            yield f"data.tokenizer.kind: student and teacher must have the same tokens: pretrained, not {kind}"
        if not recipe.train.model_fields_set:
            yield "train: a student that is not trained has learnt nothing; write at least `steps` and `clip: 0`"
        elif recipe.train.clip:
            yield "train.clip: clipping would join the student with its twin, which has no teacher; write 0"
        if recipe.train.adapter is not None:
            yield "train.adapter: the student's weights are new, all of them are trained"
        if recipe.train.distributed == "fsdp":
            yield "train.distributed: a student and its twin are not sharded; write ddp"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """As language modelling, with the teacher's tokenizer, and what it says of the train split."""
        from pipelines.tasks.distillation import teacher

        super().prepare(raw, out, pretrained)
        for name in ("generation_config.json", "chat_template.jinja"):  # how the teacher writes is not the student's
            (out / name).unlink(missing_ok=True)
        teacher.ask(pretrained, out, self.recipe.task)

    def learner(self, prepared: Path, first: Path | None) -> "Distilled":
        """See `learner.Distilled`."""
        from pipelines.tasks.distillation.learner import Distilled

        return Distilled(self.recipe, prepared)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `evaluate.evaluate`."""
        from pipelines.tasks.distillation.evaluate import evaluate

        return evaluate(self.recipe, checkpoint, prepared, folder, first)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.distillation.card import card

        return card(self.recipe, folder, evaluation, metrics, parity)

    def _context(self, prepared: Path) -> int:
        return int(self.recipe.model.context)
