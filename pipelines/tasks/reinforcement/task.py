"""Reinforcement learning as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from pipelines.recipe.export_section import DecodeExport
from pipelines.tasks.interface import Card, Measured
from pipelines.tasks.language_modelling.config import TextConfig
from pipelines.tasks.language_modelling.task import Task as LanguageModelling
from pipelines.tasks.reinforcement.config import ReinforcementConfig, RewardedConfig

if TYPE_CHECKING:
    from pipelines.tasks.reinforcement.learner import Rewarded


class Task(LanguageModelling):
    """`pipelines.tasks.interface.Task` of answering so that a function rewards it. Prepared and served as text."""

    sections: ClassVar[Mapping[str, type[BaseModel]]] = {
        "task": ReinforcementConfig,
        "data": TextConfig,
        "evaluate": RewardedConfig,
        "export": DecodeExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in ("reward", "gain", "gain_low", "gain_high", "stop_rate", "answers")),
        "test.answer_length",
        *(f"baselines.{name}" for name in ("base_reward", "base_stop_rate")),
        "int8.loss_delta",
        "int8.perplexity_delta",
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What only this task's sections can contradict each other in."""
        recipe = self.recipe
        yield from self._problems_of_first()
        if recipe.pretrained.source is None:
            yield "pretrained.source: what answers nothing is rewarded for nothing, so weights must be named"
        elif not recipe.train.model_fields_set:
            yield "train: a model that is not trained earns what it did; write at least `steps`"
        if recipe.split.method not in ("hash", "tail"):
            yield f"split.method: text is split by hash or tail, not by {recipe.split.method}"
        if not recipe.split.valid:
            yield "split.valid: a model is judged by its reward on valid, so it must be above 0"
        if recipe.train.phases:
            yield "train.phases: answers have no length that could be set"
        if recipe.train.label_smoothing:
            yield "train.label_smoothing: has no effect on rewards"
        if recipe.train.distributed == "fsdp":
            yield "train.distributed: a sharded network does not answer; write ddp"

    def learner(self, prepared: Path, first: Path | None) -> "Rewarded":
        """See `learner.Rewarded`."""
        from pipelines.tasks.reinforcement.learner import Rewarded

        return Rewarded(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `evaluate.evaluate`."""
        from pipelines.tasks.reinforcement.evaluate import evaluate

        return evaluate(self.recipe, checkpoint, prepared, folder, first)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.reinforcement.card import card

        return card(self.recipe, folder, evaluation, metrics, parity)
