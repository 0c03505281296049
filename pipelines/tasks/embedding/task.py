"""Embeddings as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from base.files import read_object
from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.embedding.config import EmbeddingConfig, EvaluateConfig, PairsData
from pipelines.tasks.interface import Card, Forward, Measured

if TYPE_CHECKING:
    from data.signature import Signature
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.embedding.imported import Imported

VALUES = ("spearman", "spearman_low", "spearman_high", "pairs")


class Task:
    """`pipelines.tasks.interface.Task` of weights that are imported."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": EmbeddingConfig,
        "data": PairsData,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in VALUES),
        "baselines.tfidf_spearman",
        "baselines.overlap_spearman",
        "parity.onnx.max_abs",
    )

    def __init__(self, recipe: "Recipe") -> None:
        self.recipe = recipe

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe = self.recipe
        if recipe.model.kind != "encoder":
            yield f"model.kind: embeddings are made by an encoder, not by {recipe.model.kind}"
        if recipe.pretrained.source is None:
            yield "pretrained.source: embeddings are imported, so their weights must be named"
        if recipe.train.model_fields_set:
            yield "train: embeddings are imported and not trained; write train: {}"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: has no effect where nothing is trained"
        if recipe.data.tokenizer.kind != "pretrained":
            yield f"data.tokenizer.kind: it must be pretrained, as the weights are, not {recipe.data.tokenizer.kind}"
        if recipe.split.per_class:
            yield "split.per_class: pairs have no labels"
        if recipe.split.group is not None:
            yield "split.group: has no effect on pairs"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Rows → records of two texts and a score, the tokenizer, the signature."""
        from pipelines.tasks.embedding.prepare import prepare

        prepare(self.recipe, raw, out, pretrained)

    def learner(self, prepared: Path, first: Path | None) -> "Imported":
        """What the import of weights needs; nothing is learnt."""
        from pipelines.tasks.embedding.imported import Imported

        return Imported(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.embedding.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.embedding.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.embedding.card import card

        return card(self.recipe, folder, metrics, parity)

    def signature(self, prepared: Path) -> "Signature":
        """What prepare stored."""
        from data.signature import Signature

        return Signature.model_validate(read_object(prepared / "index.json")["signature"])
