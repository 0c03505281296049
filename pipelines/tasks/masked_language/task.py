"""Masked-language pretraining as a task of the line: what each stage asks of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from data.text.wordpiece import NAMES
from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.language_modelling.task import split_problems
from pipelines.tasks.masked_language.config import EvaluateConfig, MaskedLanguageConfig, MaskedTextConfig

MASK = NAMES["mask_token"]

if TYPE_CHECKING:
    from data.signature import Signature
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.masked_language.learner import Learner


class Task:
    """`pipelines.tasks.interface.Task` of finding hidden tokens."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": MaskedLanguageConfig,
        "data": MaskedTextConfig,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in ("masked_loss", "accuracy", "hidden", "tokens")),
        *(f"baselines.unigram_{name}" for name in ("masked_loss", "accuracy")),
        "parity.onnx.max_abs",
    )

    def __init__(self, recipe: "Recipe") -> None:
        self.recipe = recipe

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe = self.recipe
        if recipe.model.kind != "encoder":
            yield f"model.kind: hidden tokens are found by an encoder, not by {recipe.model.kind}"
        elif recipe.train.sequence != recipe.model.context:
            said = f"{recipe.train.sequence}, and model.context is {recipe.model.context}"
            yield f"train.sequence: {said}; they must be the same, as places that no window reaches learn nothing"
        if recipe.pretrained.source is not None:
            yield "pretrained.source: this task makes first weights, for others to begin with"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: there is nothing to freeze without pretrained.source"
        if recipe.data.tokenizer.kind != "wordpiece":
            yield f"data.tokenizer.kind: it must be wordpiece, which has [MASK], not {recipe.data.tokenizer.kind}"
        if recipe.train.sequence < 8:
            yield f"train.sequence: {recipe.train.sequence} tokens, [CLS] and [SEP] among them, are too few to hide any"
        if any(phase.sequence != recipe.train.sequence for phase in recipe.train.phases):
            yield f"train.phases: windows have one length, train.sequence ({recipe.train.sequence}); change the batch"
        if wrong := next((text for text in recipe.evaluate.examples if text.count(MASK) != 1), None):
            yield f"evaluate.examples: {wrong[:60]!r} has not one {MASK}, in place of the token to be found"
        if recipe.train.adapter is not None:
            yield "train.adapter: an encoder is pretrained whole"
        if recipe.train.isolate_documents:
            yield "train.isolate_documents: has no effect, as a window is of one document anyway"
        yield from split_problems(recipe.split)

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Raw text → token shards, tokenizer and statistics."""
        from data.text.prepare import prepare

        text = self.recipe.data
        prepare(raw, out, documents=text.documents, clean=text.clean, split=self.recipe.split, tokenizer=text.tokenizer)

    def learner(self, prepared: Path, first: Path | None) -> "Learner":
        """See `learner.Learner`."""
        from pipelines.tasks.masked_language.learner import Learner

        return Learner(self.recipe, prepared)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.masked_language.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.masked_language.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.masked_language.card import card

        return card(self.recipe, folder, evaluation, metrics, parity)

    def signature(self, prepared: Path) -> "Signature":
        """A text with one [MASK] in, the likeliest tokens out."""
        from pipelines.tasks.masked_language.blanks import signature

        return signature(self.recipe.model.context, prepared)
