"""Cohere's and Jina's rerank: the request's fields, checked, and the answer built.

Sources: https://docs.cohere.com/v1/reference/rerank, https://docs.cohere.com/reference/rerank. Cohere's first client
asks at /v1/rerank, its second one at /v2/rerank.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.engines.decode.text import SURROGATE
from serving.routes.schema import STRICT, texts

MOST_DOCUMENTS = 1000
"""As Cohere recommends."""


class Document(BaseModel):
    """A document with more than its text; what else it has is given back with it."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: str


class RerankRequest(BaseModel):
    """Body of POST /v1/rerank."""

    model_config = STRICT

    query: str
    documents: list[str | Document]
    model: str | None = Field(default=None, description="default: the first model that ranks documents")
    top_n: int | None = Field(default=None, ge=1, description="so many of the best; default: all")
    return_documents: bool | None = Field(default=None, description="also give the documents back; default: no")
    max_tokens_per_doc: int | None = Field(
        default=None, ge=1, description="of longer documents so many first tokens count, the model's limit at most; "
        "default: a document beyond that limit is an error"
    )  # fmt: skip

    @field_validator("documents", mode="before")
    @classmethod
    def _documents(cls, value: object) -> object:
        if not isinstance(value, list):
            raise ValueError("must be a list of texts, or of objects with a text")
        if not 0 < len(value) <= MOST_DOCUMENTS:
            many = f"has {len(value)} entries, and at most {MOST_DOCUMENTS} go into one request"
            raise ValueError(many if value else "is empty; give it at least one document")
        for number, entry in enumerate(value):
            text = entry.get("text") if isinstance(entry, dict) else entry
            if not isinstance(text, str):
                raise ValueError(f"has no text at index {number}: a document is a string, or an object with a text")
            if not text.strip():
                raise ValueError(f"is empty at index {number}; leave empty documents out")
            if any(SURROGATE.search(each) for each in texts(entry)):  # no answer could give it back
                raise ValueError(f"has half a character (a lone surrogate) at index {number}")
        return value

    @property
    def texts(self) -> list[str]:
        """The documents' texts, in order."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


def answer(request_id: str, model: str, wanted: RerankRequest, scores: list[float], tokens: int) -> dict[str, Any]:
    """The answer: documents by their scores, the best first, of equal ones the earlier. `tokens`: of all pairs."""
    order = sorted(range(len(scores)), key=lambda number: (-scores[number], number))[: wanted.top_n]
    results: list[dict[str, Any]] = [{"index": number, "relevance_score": scores[number]} for number in order]
    if wanted.return_documents:
        for result in results:
            document = wanted.documents[result["index"]]
            result["document"] = {"text": document} if isinstance(document, str) else document.model_dump()
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"id": request_id, "object": "list", "model": model, "results": results, "usage": usage}
