"""The keys of a recipe that only embeddings have: task, data, evaluate."""

from typing import Annotated, Literal

from pydantic import Field

from data.tables.config import RowsConfig, suffixes_of
from data.text.tokenizer import TokenizerConfig
from pipelines.tasks.retrieval.config import JudgedData, Section


class EmbeddingConfig(Section):
    """Make a vector of a text: pooled, of length 1. Weights are imported (`train: {}`), or trained further: of `judged`
    data so that a query is near the documents that answer it, of `pairs` so that cosines rank as people's scores."""

    kind: Literal["embedding"] = "embedding"
    query_prefix: str = Field(default="", description="goes before a text that asks, where the weights were trained so")
    document_prefix: str = Field(default="", description="goes before a text that is searched")
    negatives: int = Field(
        default=0, ge=0, description="judged data: documents of BM25 beside each answer, drawn anew in each epoch; "
        "those of a batch's other queries are negatives anyway"
    )  # fmt: skip
    pool: int = Field(default=50, ge=1, description="they are drawn from so many of BM25's first")
    dimensions: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="so many first numbers are trained to be embeddings by themselves (Matryoshka)"
    )
    chunk: int = Field(
        default=0, ge=0, description="texts whose activations are in memory at once; a batch may be any larger, and is "
        "computed twice (cached gradients); 0: all of a batch"
    )  # fmt: skip


class PairsData(Section):
    """Two texts a row, and how alike people found them."""

    kind: Literal["pairs"] = "pairs"
    rows: RowsConfig = RowsConfig()
    first: str = Field(default="first", description="the column with one text")
    second: str = Field(default="second", description="the column with the other")
    score: str = Field(default="score", description="the column with their likeness: the higher, the more alike")
    length: int = Field(default=128, ge=1, description="most tokens of a text, without those that stand around it")
    tokenizer: TokenizerConfig = TokenizerConfig(kind="pretrained")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return suffixes_of(self.rows)


DataConfig = Annotated[PairsData | JudgedData, Field(discriminator="kind")]


class EvaluateConfig(Section):
    """How the test split is scored: the rank correlation of cosines with what people said, or nDCG@10 of searching all
    documents."""

    first: bool = Field(default=True, description="judged data: also search with the weights that training began with")
    resamples: int = Field(default=200, ge=10, description="bootstrap samples of the interval")
