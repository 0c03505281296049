"""The keys of a recipe that only an index has: task, data, evaluate, export."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.index.documents import SUFFIXES


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexConfig(_Section):
    """Find passages of documents. The embedder is a released one (`pretrained.source: {kind: release}`)."""

    kind: Literal["index"] = "index"
    threshold: float | None = Field(
        default=None, ge=-1, le=1,
        description="least cosine of a question and its best chunk for an answer from the sources; null: the one that "
        "95 % of the validation split's questions have, or 0.25 where there are none",
    )  # fmt: skip


class DocumentsData(_Section):
    """Documents, and how they are cut into chunks; perhaps questions to judge the index by."""

    kind: Literal["documents"] = "documents"
    length: int = Field(default=200, ge=16, description="most tokens of a chunk, by the embedder's tokenizer")
    overlap: int = Field(default=32, ge=0, description="most tokens that a chunk repeats of the one before")
    questions: str | None = Field(
        default=None,
        description="a .jsonl file of the source with `question` and `document` (the name of the file that answers); "
        "null: sentences of the chunks themselves are asked for",
    )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads."""
        return (*SUFFIXES, ".jsonl") if self.questions else SUFFIXES


class EvaluateConfig(_Section):
    """How the index is judged: whether the chunks that are found are those that should be."""

    sentences: int = Field(
        default=200, ge=2, description="most sentences that are asked for where there are no questions"
    )
    exact: int = Field(
        default=100, ge=1, description="most questions whose nearest chunks are compared with exact ones"
    )


class ExportConfig(_Section):
    """What is exported: the table, the embedder, and questions with their answers."""

    golden: int = Field(default=8, ge=1, description="questions with the chunks found that the bundle holds")
