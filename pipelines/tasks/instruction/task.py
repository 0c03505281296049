"""Instruction tuning as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from data.text.chat_rows import InstructionsConfig
from pipelines.recipe.export_section import DecodeExport
from pipelines.tasks.instruction.config import EvaluateConfig, InstructionConfig
from pipelines.tasks.interface import Card, Measured
from pipelines.tasks.language_modelling.task import Task as LanguageModelling

if TYPE_CHECKING:
    from pipelines.tasks.instruction.learner import Instruction


class Task(LanguageModelling):
    """`pipelines.tasks.interface.Task` of learning the answers of chats. Exported and served as a decoder is."""

    sections: ClassVar[Mapping[str, type[BaseModel]]] = {
        "task": InstructionConfig,
        "data": InstructionsConfig,
        "evaluate": EvaluateConfig,
        "export": DecodeExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in ("loss", "perplexity", "gain", "gain_low", "gain_high", "chats", "targets")),
        *(f"test.{name}" for name in ("answers", "stop_rate", "exact_match", "answer_length", "given_length")),
        "baselines.base_loss",
        *(f"base.{name}" for name in ("perplexity", "tuned_perplexity", "perplexity_delta", "tokens")),
        "int8.loss_delta",
        "int8.perplexity_delta",
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What only this task's sections can contradict each other in."""
        recipe = self.recipe
        if recipe.pretrained.source is None:
            yield "pretrained.source: chats are taught to a model that has been trained, so it must be named"
        if recipe.model.kind != "decoder":
            yield f"model.kind: chats are taught to a decoder, not to {recipe.model.kind}"
        if keys := sorted(recipe.model.model_fields_set - {"kind"}):
            yield f"model.{keys[0]}: has no effect with pretrained.source, whose files say what the model looks like"
        if recipe.train.model_fields_set and recipe.data.length - 1 > recipe.train.sequence:
            yield f"train.sequence: chats of data.length ({recipe.data.length}) do not fit into {recipe.train.sequence}"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: a language model has no new head that could learn alone; take train.adapter"
        if recipe.split.per_class:
            yield "split.per_class: chats have no labels"
        if recipe.train.isolate_documents:
            yield "train.isolate_documents: chats never see each other anyway"
        if recipe.train.phases:
            yield "train.phases: chats are never cut, so there is one length of sequences"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Raw rows → masked token shards, the weights' tokenizer and template, and statistics."""
        from data.text.instructions import prepare
        from pipelines.tasks.instruction.perplexity import scorer

        data = self.recipe.data
        score = scorer(pretrained) if pretrained is not None and data.filter.max_perplexity is not None else None
        prepare(raw, out, data, self.recipe.split, pretrained, score=score)

    def learner(self, prepared: Path, first: Path | None) -> "Instruction":
        """See `learner.Instruction`."""
        from pipelines.tasks.instruction.learner import Instruction

        return Instruction(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `evaluate.evaluate`."""
        from pipelines.tasks.instruction.evaluate import evaluate

        return evaluate(self.recipe, checkpoint, prepared, folder, first)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.instruction.card import card

        return card(self.recipe, folder, evaluation, metrics, parity)
