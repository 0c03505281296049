"""An index as a model: its weights are the vectors of chunks, and how these are searched is all that it has of keys."""

from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class Config(ModelConfig):
    """Vectors of chunks beside their words, searched by cosine, BM25, or both."""

    kind: Literal["vector-index"] = "vector-index"
    language: str = Field(default="English", description="of the words: how they are stemmed, and which do not count")
    approximate_from: int = Field(
        default=50_000, ge=256, description="from so many chunks on not every vector is compared"
    )
    weight: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="of the cosine in a search by both; the rest is BM25's, relative to the best; null: the one by "
        "which the validation split's questions have the highest nDCG@10, or 0.5 where there are none",
    )
    candidates: int = Field(
        default=8, ge=1, description="chunks of a search by both that a reranker, where the index has one, orders"
    )
    probes: int = Field(default=32, ge=1, description="parts of the table in which an approximate search looks")
    refine: int = Field(default=10, ge=1, description="so many times the chunks wanted are compared again, exactly")
