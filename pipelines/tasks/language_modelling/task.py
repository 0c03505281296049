"""Language modelling as a task of the line: what each stage asks of it, and where in this folder that is done."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from base.errors import MetrolineError, nearest
from base.files import read_json
from pipelines.recipe.export_section import DecodeExport
from pipelines.tasks.interface import Card, Decode, Measured
from pipelines.tasks.language_modelling.config import (
    EvaluateConfig,
    LanguageModellingConfig,
    TextConfig,
)

if TYPE_CHECKING:
    from data.signature import Signature
    from data.split import SplitConfig
    from data.text.documents import DocumentsConfig
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.language_modelling.learner import LanguageModelling


class Task:
    """`pipelines.tasks.interface.Task` of predicting each next token."""

    engine: ClassVar[Literal["decode"]] = "decode"
    sections: ClassVar[Mapping[str, type[BaseModel]]] = {
        "task": LanguageModellingConfig,
        "data": TextConfig,
        "evaluate": EvaluateConfig,
        "export": DecodeExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in ("loss", "perplexity", "bits_per_byte", "tokens", "bytes", "context")),
        *(f"baselines.{name}" for name in ("bigram_bits_per_byte", "xz_bits_per_byte", "weakest_bits_per_byte")),
        "int8.loss_delta",
        "int8.perplexity_delta",
        "parity.onnx.max_abs",
    )

    def __init__(self, recipe: "Recipe") -> None:
        self.recipe = recipe

    def problems(self) -> Iterator[str]:
        """What only this task's sections can contradict each other in."""
        recipe = self.recipe
        if recipe.train.sequence > recipe.model.context:
            yield f"train.sequence: {recipe.train.sequence} is longer than model.context ({recipe.model.context})"
        yield from self._problems_of_kind()
        yield from self._problems_of_first()
        if recipe.data.tokenizer.kind == "wordpiece":
            yield "data.tokenizer.kind: wordpiece loses case and spaces, so that no text could be written; take bpe"
        yield from split_problems(recipe.split)
        noted = meta_names(recipe.data.documents)
        if (group := recipe.evaluate.group_by) is not None and group not in noted:
            yield f"evaluate.group_by: documents have no meta {group!r}; {nearest(group, noted)}"

    def _problems_of_first(self) -> Iterator[str]:
        """What the first weights contradict."""
        recipe = self.recipe
        kind, imported = recipe.data.tokenizer.kind, recipe.pretrained.source is not None
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: a language model has no new head that could learn alone; take train.adapter"
        if imported and kind != "pretrained":
            yield f"data.tokenizer.kind: with pretrained.source it must be pretrained, not {kind}"
        if kind == "pretrained" and not imported:
            yield "data.tokenizer.kind: pretrained needs pretrained.source"
        if imported and recipe.model.kind != "decoder":
            yield f"model.kind: weights are imported as decoder, and model.kind is {recipe.model.kind}"
        if imported and (keys := sorted(recipe.model.model_fields_set - {"kind"})):
            yield f"model.{keys[0]}: has no effect with pretrained.source, whose files say what the model looks like"

    def _problems_of_kind(self) -> Iterator[str]:
        """What only a decoder can do."""
        recipe = self.recipe
        if recipe.model.kind == "decoder":
            return
        only = f"and model.kind is {recipe.model.kind}"
        if recipe.serving.precision not in ("fp32", "auto"):
            yield f"serving.precision: {recipe.serving.precision} is made of decoders only, {only}; write fp32"
        if recipe.export.int4:
            yield f"export.int4: it is made of decoders only, {only}"
        if recipe.train.activation_checkpointing:
            yield f"train.activation_checkpointing: it is for decoders only, {only}"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Raw text → token shards, tokenizer and statistics."""
        from data.text.prepare import prepare

        text = self.recipe.data
        prepare(
            raw,
            out,
            documents=text.documents,
            clean=text.clean,
            split=self.recipe.split,
            tokenizer=text.tokenizer,
            pretrained=pretrained,
        )

    def learner(self, prepared: Path, first: Path | None) -> "LanguageModelling":
        """See `learner.LanguageModelling`."""
        from pipelines.tasks.language_modelling.learner import LanguageModelling

        return LanguageModelling(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `evaluate.evaluate`."""
        from pipelines.tasks.language_modelling.evaluate import evaluate

        return evaluate(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Decode:
        """The checkpoint as the `decode` engine runs it."""
        from models.checkpoint import load
        from models.common.stateful import Stepper
        from models.decoder.cached import CachedDecoder
        from models.decoder.model import Decoder
        from pipelines.tasks.language_modelling.held_out import HeldOut

        model = load(checkpoint).eval()
        settings = {"clean": self.recipe.data.clean.model_dump(include={"unicode", "newlines"})}
        held_out = HeldOut(prepared)
        if not isinstance(model, Decoder):
            return Decode(Stepper(model), prepared, held_out, settings)
        try:
            return Decode(CachedDecoder(model), prepared, held_out, settings)
        except ValueError as error:  # a shape that ONNX Runtime has no attention for
            raise MetrolineError(f"export: {error}") from None

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.language_modelling.card import card

        return card(self.recipe, folder, evaluation, metrics, parity)

    def signature(self, prepared: Path) -> "Signature":
        """A prompt in, text out."""
        from data.signature import Signature, TextInput, TextOutput

        return Signature(
            engine=self.engine,
            task="text-generation",
            inputs=(TextInput(name="prompt", shape=(-1,), length=self._context(prepared)),),
            outputs=(TextOutput(name="text"),),
        )

    def _context(self, prepared: Path) -> int:
        """Most tokens that the model sees."""
        if self.recipe.pretrained.source:
            return int(read_json(prepared / "tokenizer_config.json")["model_max_length"])
        return int(self.recipe.model.context)


def meta_names(documents: "DocumentsConfig") -> list[str]:
    """The names that `documents` puts into the meta of a document."""
    groups = re.compile(documents.meta_pattern).groupindex if documents.meta_pattern else {}
    return sorted({*documents.meta_fields, *groups, *documents.bins})


def split_problems(split: "SplitConfig") -> Iterator[str]:
    """What running text cannot be split by."""
    if split.method not in ("hash", "tail"):
        yield f"split.method: text is split by hash or tail, not by {split.method}"
    if split.group is not None:
        yield "split.group: has no effect on text"
    if split.per_class:
        yield "split.per_class: text has no labels"
