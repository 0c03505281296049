"""POST /v1/search: a query → passages of an index's documents, the best first."""

from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from data.index.store import MODES
from serving.http.body import read_body
from serving.http.errors import invalid
from serving.http.stream import while_connected
from serving.routes.schema import parse
from serving.routes.search_schema import SearchRequest, shown
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.runtime.retrieve_model import RetrieveModel

PASSAGES = 5


async def search(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    settings, fields = runtime.settings, request.scope["metroline"]["fields"]
    wanted = parse(await read_body(request, settings.body_limit, settings.body_seconds), SearchRequest)
    await runtime.until_ready()
    served = runtime.routed(request.scope, index(runtime, wanted.model, "model"), wanted.model)
    mode = wanted.mode or served.engine.way
    if mode == "reranked" and served.engine.way != mode:
        raise invalid(f"{served.name} has no reranker. Its modes are {', '.join(MODES)}.", "mode", "no_reranker")
    fields.update(mode=mode, prompt_tokens=0, completion_tokens=0)

    def spend(tokens: int) -> None:
        request.scope["metroline"]["caller"].spend(tokens, "input")
        fields.update(prompt_tokens=tokens)

    work = served.engine.search(wanted.query, wanted.k or PASSAGES, mode, fields["request_id"], spend=spend)
    found = await while_connected(request.receive, work)
    fields["passages"] = len(found)
    data = [shown(each) for each in found]
    return JSONResponse({"object": "list", "model": served.name, "mode": mode, "data": data})


def index(runtime: Runtime, name: str | None, param: str) -> "RetrieveModel":
    """The index that is asked for, or the first one. Raises ApiError: 404 none of that name, 400 it is none."""
    from serving.runtime.retrieve_model import RetrieveModel

    served = runtime.pick(name, "retrieve")
    if isinstance(served, RetrieveModel):
        return served
    others = [each.name for each in runtime.models if isinstance(each, RetrieveModel)]
    said = f" {', '.join(others)} is." if others else " None is served here."
    raise invalid(f"{served.name} is no index of documents.{said}", param, "no_index")
