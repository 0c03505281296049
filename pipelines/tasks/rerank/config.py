"""The keys of a recipe that only rerankers have: task, evaluate."""

from typing import Literal

from pydantic import Field

from pipelines.tasks.retrieval.config import Section


class RerankConfig(Section):
    """Say how well a document answers a query: a cross-encoder, which reads both at once (Nogueira and Cho 2019)."""

    kind: Literal["rerank"] = "rerank"
    negatives: int = Field(
        default=7, ge=1, description="documents that do not answer the query beside each that does, of what BM25 finds"
    )
    pool: int = Field(default=50, ge=1, description="they are drawn anew in each epoch from so many of BM25's first")
    tokens: int = Field(default=254, ge=1, description="training sees so many first tokens of a document")


class EvaluateConfig(Section):
    """How the test split is scored: nDCG@10 of what BM25 finds, put into a new order."""

    depth: int = Field(default=50, ge=10, description="documents of BM25 that are put into a new order")
    resamples: int = Field(default=200, ge=10, description="bootstrap samples of the interval")
