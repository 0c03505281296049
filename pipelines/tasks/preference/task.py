"""Preference tuning as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from data.text.preferences import PreferencesConfig
from pipelines.recipe.export_section import DecodeExport
from pipelines.tasks.instruction.config import EvaluateConfig
from pipelines.tasks.instruction.task import Task as Instruction
from pipelines.tasks.interface import Card, Measured
from pipelines.tasks.preference.config import PreferenceConfig

if TYPE_CHECKING:
    from pipelines.tasks.preference.learner import Preferences


class Task(Instruction):
    """`pipelines.tasks.interface.Task` of preferring one answer to another. Prepared, exported and served as chats."""

    sections: ClassVar[Mapping[str, type[BaseModel]]] = {
        "task": PreferenceConfig,
        "data": PreferencesConfig,
        "evaluate": EvaluateConfig,
        "export": DecodeExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in ("loss", "accuracy", "accuracy_low", "accuracy_high", "gain", "gain_low")),
        *(f"test.{name}" for name in ("gain_high", "margin", "margin_low", "margin_high", "sum_accuracy")),
        *(f"test.{name}" for name in ("mean_accuracy", "chosen_change", "rejected_change", "pairs", "targets")),
        *(f"test.{name}" for name in ("answers", "stop_rate", "exact_match", "answer_length", "given_length")),
        *(f"baselines.{name}" for name in ("base_accuracy", "base_sum_accuracy", "base_mean_accuracy", "base_loss")),
        "test.stop_change",
        *(f"baselines.base_{name}" for name in ("answer_length", "stop_rate")),
        *(f"base.{name}" for name in ("perplexity", "tuned_perplexity", "perplexity_delta", "tokens")),
        "int8.loss_delta",
        "int8.perplexity_delta",
        "parity.onnx.max_abs",
    )

    def learner(self, prepared: Path, first: Path | None) -> "Preferences":  # type: ignore[override]
        """See `learner.Preferences`."""
        from pipelines.tasks.preference.learner import Preferences

        return Preferences(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `evaluate.evaluate`."""
        from pipelines.tasks.preference.evaluate import evaluate

        return evaluate(self.recipe, checkpoint, prepared, folder, first)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.preference.card import card

        return card(self.recipe, folder, evaluation, metrics, parity)

    def problems(self) -> Iterator[str]:
        """What only this task's sections can contradict each other in."""
        yield from super().problems()
        train = self.recipe.train
        if self.recipe.pretrained.source is not None and not train.model_fields_set:
            yield "train: a model that has learnt from no pair prefers nothing; write at least `steps`"
        if train.label_smoothing >= 0.5:
            yield f"train.label_smoothing: at {train.label_smoothing:g} no pair says which answer is better"
        if self.recipe.task.loss == "ipo" and train.label_smoothing:
            yield "train.label_smoothing: has no effect on task.loss ipo"
