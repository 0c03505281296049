"""The keys of a recipe that only an index has: task, data, evaluate, export."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data.index.documents import SUFFIXES


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexConfig(_Section):
    """Find passages of documents. The embedder is a released one (`pretrained.source: {kind: release}`)."""

    kind: Literal["index"] = "index"
    threshold: float | None = Field(
        default=None, ge=-1, le=1,
        description="least score of a question's best chunk (the reranker's, or a cosine where there is none) for an "
        "answer from the sources; null: the one that 95 % of the validation split's questions have; where there are no "
        "questions 0.05, of a cosine 0.25",
    )  # fmt: skip
    reranker: str | None = Field(
        default=None, description="a recipe whose released reranker orders what is found; params.yaml names both below "
        "`rerankers`",
    )  # fmt: skip


class _Chunks(_Section):
    length: int = Field(default=200, ge=16, description="most tokens of a chunk, by the embedder's tokenizer")
    overlap: int = Field(default=32, ge=0, description="most tokens that a chunk repeats of the one before")


class DocumentsData(_Chunks):
    """Documents, and how they are cut into chunks; perhaps questions to judge the index by."""

    kind: Literal["documents"] = "documents"
    questions: str | None = Field(
        default=None,
        description="a .jsonl file of the source with `question`, `document` (the name of the file that answers) and "
        "perhaps `answers` (texts); null: sentences of the chunks themselves are asked for",
    )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads."""
        return (*SUFFIXES, ".jsonl") if self.questions else SUFFIXES


class SquadData(_Chunks):
    """Paragraphs and questions with answers, in the format of SQuAD; each paragraph is a document."""

    kind: Literal["squad"] = "squad"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads."""
        return (".json",)


DataConfig = Annotated[DocumentsData | SquadData, Field(discriminator="kind")]


class EvaluateConfig(_Section):
    """How the index is judged: whether the chunks that are found are those that should be."""

    sentences: int = Field(
        default=200, ge=2, description="most sentences that are asked for where there are no questions"
    )
    questions: int | None = Field(
        default=None, ge=2, description="most people's questions of the test split that are asked, drawn by `seed`: a "
        "reranker takes its time; null: all",
    )  # fmt: skip
    exact: int = Field(
        default=100, ge=1, description="most questions whose nearest chunks are compared with exact ones"
    )
    chat: str | None = Field(
        default=None, description="a recipe whose released chat model answers questions of the test split from the "
        "index, to judge the whole; params.yaml names both below `chats`; null: nobody is asked",
    )  # fmt: skip
    answers: int = Field(
        default=100, ge=2, description="so many questions of the test split, drawn by `seed`, and about as many whose "
        "documents are taken out of the index before",
    )  # fmt: skip
    tokens: int = Field(default=96, ge=1, description="most tokens of an answer")
    seed: int = Field(default=0, ge=0, description="of the draw")


class ExportConfig(_Section):
    """What is exported: the table, the embedder, and questions with their answers."""

    golden: int = Field(default=8, ge=1, description="questions with the chunks found that the bundle holds")
