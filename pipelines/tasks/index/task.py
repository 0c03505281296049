"""An index as a task of the line: what each stage asks of it, and where in this folder that is done."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.recipe.sections import ReleaseSource
from pipelines.tasks.index.config import DataConfig, EvaluateConfig, ExportConfig, IndexConfig
from pipelines.tasks.interface import Card, Measured, Retrieve
from pipelines.tasks.prepared import PreparedTask

if TYPE_CHECKING:
    from data.signature import Engine
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.index.build import Building

WAYS = ("vector", "text", "hybrid")
FOUND = ("recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10")


ANSWERS = (
    "answers", "answer_contains", "answer_sources_contain", "answer_exact_match", "answer_f1", "wrongly_refused_share",
    "citations", "citation_precision", "citations_resolved", "grounded_share", "unanswerable",
    "unanswerable_refused_share", "false_answer_share",
)  # fmt: skip
"""What is measured where a chat is asked; shares also with `_low` and `_high`."""


class Task(PreparedTask):
    """`pipelines.tasks.interface.Task` of documents that are searched."""

    engine: ClassVar["Engine"] = "retrieve"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": IndexConfig,
        "data": DataConfig,
        "evaluate": EvaluateConfig,
        "export": ExportConfig,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in (*FOUND, "exact_recall", "questions", "chunks", "documents", "threshold")),
        *(f"baselines.{way}_{name}" for way in WAYS for name in FOUND),
        "test.answered_share",
        "test.refused_share",
        *(f"test.{name}" for name in ANSWERS),
        "baselines.random_recall_at_1",
    )

    def __init__(self, recipe: "Recipe") -> None:
        super().__init__(recipe)
        named = {"reranker": recipe.task.reranker, "chat": recipe.evaluate.chat}
        self.uses: Mapping[str, str] = {role: name for role, name in named.items() if name}
        self.given: Mapping[str, Path] = {}

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        recipe = self.recipe
        if recipe.model.kind != "vector-index":
            yield f"model.kind: an index is a vector-index, not a {recipe.model.kind}"
        if not isinstance(recipe.pretrained.source, ReleaseSource):
            yield "pretrained.source: an index needs a released embedder: {kind: release, name: minilm}"
        if recipe.train.model_fields_set:
            yield "train: an index is built and not trained; write train: {}"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: has no effect where nothing is trained"
        if recipe.data.overlap * 2 > recipe.data.length:
            yield "data.overlap: at most half of data.length, or chunks hardly move on"
        if recipe.split.method not in ("hash", "tail"):
            yield f"split.method: questions are shared out by hash or tail, not by {recipe.split.method}"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Files → documents, chunks, questions. `pretrained`: the embedder's bundle."""
        from pipelines.tasks.index.embedder import Embedder
        from pipelines.tasks.index.prepare import prepare

        assert pretrained is not None
        prepare(self.recipe, raw, out, Embedder(pretrained))

    def learner(self, prepared: Path, first: Path | None) -> "Building":
        """What builds the index."""
        from pipelines.tasks.index.build import Building
        from pipelines.tasks.index.embedder import Embedder
        from pipelines.tasks.index.reranker import Reranker

        assert first is not None
        reranker = Reranker(self.given["reranker"]) if "reranker" in self.given else None
        return Building(self.recipe, prepared, Embedder(first), reranker)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.index.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder, self.given)

    def exportable(self, checkpoint: Path, prepared: Path) -> Retrieve:
        """See `exportable.exportable`."""
        from pipelines.tasks.index.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.index.card import card

        return card(self.recipe, folder, metrics)
