"""Embeddings as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.embedding.config import DataConfig, EmbeddingConfig, EvaluateConfig
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask

if TYPE_CHECKING:
    from pipelines.tasks.embedding.imported import Imported
    from pipelines.tasks.embedding.trained import Trained

VALUES = {
    "pairs": ("spearman", "spearman_low", "spearman_high", "pairs"),
    "judged": ("ndcg_10", "ndcg_10_low", "ndcg_10_high", "recall_100", "gain", "gain_low", "gain_high", "queries"),
}
"""Kind of data → names of what is measured of the test split."""


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task` of weights that are imported, or trained further."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": EmbeddingConfig,
        "data": DataConfig,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for names in VALUES.values() for name in names),
        *("baselines.tfidf_spearman", "baselines.overlap_spearman"),
        *("baselines.bm25_ndcg_10", "baselines.words_ndcg_10", "base.ndcg_10"),
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe = self.recipe
        if recipe.model.kind != "encoder":
            yield f"model.kind: embeddings are made by an encoder, not by {recipe.model.kind}"
        if recipe.pretrained.source is None:
            yield "pretrained.source: embeddings begin with the weights and the tokenizer of others"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: has no effect, as embeddings have no head to train"
        if recipe.train.adapter is not None:
            yield "train.adapter: embeddings are trained whole"
        learns, judged = bool(recipe.train.model_fields_set), recipe.data.kind == "judged"
        for key in ("negatives", "pool", "dimensions", "chunk"):
            if key in recipe.task.model_fields_set and not learns:
                yield f"task.{key}: has no effect where nothing is trained"
        for key in ("negatives", "pool"):
            if key in recipe.task.model_fields_set and not judged:
                yield f"task.{key}: pairs with scores have no negatives"
        if recipe.data.tokenizer.kind != "pretrained":
            yield f"data.tokenizer.kind: it must be pretrained, as the weights are, not {recipe.data.tokenizer.kind}"
        if recipe.split.per_class:
            yield f"split.per_class: {'queries' if judged else 'pairs'} have no labels"
        if recipe.split.group is not None:
            yield f"split.group: has no effect on {'queries' if judged else 'pairs'}"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Rows → records of two texts and a score, or of queries and documents; the tokenizer, the signature."""
        from pipelines.tasks.embedding.prepare import prepare, signature_of
        from pipelines.tasks.retrieval.prepare import prepare as prepare_judged

        assert pretrained is not None
        if self.recipe.data.kind == "judged":
            prepare_judged(self.recipe, raw, out, pretrained, signature_of(self.recipe, pretrained))
        else:
            prepare(self.recipe, raw, out, pretrained)

    def learner(self, prepared: Path, first: Path | None) -> "Imported | Trained":
        """What the trainer needs, or, where nothing is learnt, the import of weights."""
        if self.recipe.train.model_fields_set:
            from pipelines.tasks.embedding.trained import Trained

            return Trained(self.recipe, prepared, first)
        from pipelines.tasks.embedding.imported import Imported

        return Imported(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure` of pairs, `finding.measure` of queries."""
        if self.recipe.data.kind == "judged":
            from pipelines.tasks.embedding import finding

            return finding.measure(self.recipe, checkpoint, prepared, folder, first)
        from pipelines.tasks.embedding.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable` of pairs, `finding_exportable.exportable` of queries."""
        if self.recipe.data.kind == "judged":
            from pipelines.tasks.embedding import finding_exportable

            return finding_exportable.exportable(self.recipe, checkpoint, prepared)
        from pipelines.tasks.embedding.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.embedding.card import card

        return card(self.recipe, folder, metrics, parity)
