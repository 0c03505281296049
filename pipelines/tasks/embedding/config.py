"""The keys of a recipe that only embeddings have: task, data, evaluate."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.tables.config import RowsConfig, suffixes_of
from data.text.tokenizer import TokenizerConfig


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddingConfig(_Section):
    """Make a vector of a text: pooled, of length 1. Weights are imported (`train: {}`)."""

    kind: Literal["embedding"] = "embedding"
    query_prefix: str = Field(default="", description="goes before a text that asks, where the weights were trained so")
    document_prefix: str = Field(default="", description="goes before a text that is searched")


class PairsData(_Section):
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


class EvaluateConfig(_Section):
    """How the test split is scored: the rank correlation of cosines with what people said."""

    resamples: int = Field(default=200, ge=10, description="bootstrap samples of the interval")
