"""POST /v1/embeddings: no bundle makes embeddings today, and a client is told so in OpenAI's schema."""

from typing import Any, NoReturn

from fastapi import Request
from pydantic import BaseModel, Field

from serving.http.errors import invalid
from serving.routes.generation import read
from serving.routes.schema import STRICT
from serving.runtime.runtime import Runtime


class EmbeddingsRequest(BaseModel):
    """Body of POST /v1/embeddings."""

    model_config = STRICT

    input: str | list[Any]
    model: str | None = Field(default=None, description="default: the first model that is served")
    encoding_format: str | None = None
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None


async def embed(runtime: Runtime, request: Request) -> NoReturn:
    """Raises ApiError: 404 for a model that is not served, else 400."""
    _, served = await read(runtime, request, EmbeddingsRequest)
    name = served.bundle.name
    raise invalid(f"{name} is a model for text and makes no embeddings.", "model", "no_embeddings")
