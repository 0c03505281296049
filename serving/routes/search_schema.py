"""The body of POST /v1/search, and its answer."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, field_validator

from data.index.store import Way
from serving.routes.schema import STRICT, check_text

if TYPE_CHECKING:
    from serving.engines.retrieve.engine import Found

MOST = 100
LONGEST = 8192


class SearchRequest(BaseModel):
    """Body of POST /v1/search."""

    model_config = STRICT

    query: str = Field(min_length=1, max_length=LONGEST)
    model: str | None = Field(default=None, description="default: the first index that is served")
    k: int | None = Field(default=None, ge=1, le=MOST, description="most passages; default 5")
    mode: Way | None = Field(
        default=None, description="by meaning, by words (BM25), by both, or what both find in a reranker's order; "
        "default reranked where the index has a reranker, else hybrid",
    )  # fmt: skip
    user: str | None = None

    @field_validator("query")
    @classmethod
    def _query(cls, query: str) -> str:
        check_text(query)
        if not query.strip():
            raise ValueError("is empty")
        return query


def shown(found: "Found") -> dict[str, Any]:
    """A passage as answers have it: `start` and `end` are bytes of the document's text."""
    passage = found.passage
    return {"document": passage.document, "start": passage.start, "end": passage.end, "text": passage.text,
            "score": found.score}  # fmt: skip
