"""Reranking as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.recipe.export_section import ForwardExport
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask
from pipelines.tasks.rerank.config import EvaluateConfig, RerankConfig
from pipelines.tasks.retrieval.config import JudgedData

if TYPE_CHECKING:
    from pipelines.tasks.rerank.learner import Learner

VALUES = ("ndcg_10", "ndcg_10_low", "ndcg_10_high", "gain", "gain_low", "gain_high", "found", "queries", "pairs")


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task` of a cross-encoder."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": RerankConfig,
        "data": JudgedData,
        "evaluate": EvaluateConfig,
        "export": ForwardExport,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in VALUES),
        "baselines.bm25_ndcg_10",
        "baselines.perfect_ndcg_10",
        "parity.onnx.max_abs",
    )

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe = self.recipe
        if recipe.model.kind != "encoder":
            yield f"model.kind: a pair of texts is read by an encoder, not by {recipe.model.kind}"
        if recipe.pretrained.source is None:
            yield "pretrained.source: a reranker begins with the weights and the tokenizer of others"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: a reranker's body has to learn"
        if recipe.train.adapter is not None:
            yield "train.adapter: a reranker is trained whole"
        if not recipe.train.model_fields_set:
            yield "train: nothing is learnt without keys; give it steps"
        if recipe.data.tokenizer.kind != "pretrained":
            yield f"data.tokenizer.kind: it must be pretrained, as the weights are, not {recipe.data.tokenizer.kind}"
        if recipe.evaluate.depth > recipe.data.candidates:
            yield f"evaluate.depth: {recipe.evaluate.depth} is more than data.candidates ({recipe.data.candidates})"
        if recipe.split.per_class:
            yield "split.per_class: queries have no labels"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Queries and documents → records, the tokenizer, the signature."""
        from data.signature import LabelsOutput, Signature, TextInput
        from pipelines.tasks.retrieval.prepare import prepare

        lengths = {"query": self.recipe.data.query_length, "document": self.recipe.data.length}
        texts = tuple(TextInput(name=name, shape=(-1,), length=length) for name, length in lengths.items())
        output = LabelsOutput(name="relevance", shape=(2,), labels=("other", "relevant"))
        signature = Signature(task="text-ranking", inputs=texts, outputs=(output,))
        prepare(self.recipe, raw, out, pretrained, signature)

    def learner(self, prepared: Path, first: Path | None) -> "Learner":
        """See `learner.Learner`."""
        from pipelines.tasks.rerank.learner import Learner

        return Learner(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.rerank.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.rerank.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.rerank.card import card

        return card(self.recipe, folder, metrics, parity)
