"""POST /v1/rerank: a query and documents → how well each answers it, for a bundle that reads pairs of texts."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serving.engines.forward.bundle import ranks
from serving.http.body import read_body
from serving.http.stream import while_connected
from serving.routes.able import able
from serving.routes.embeddings import BATCHES
from serving.routes.rerank_schema import RerankRequest, answer
from serving.routes.schema import parse
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.engines.forward.graph import Prepared
    from serving.runtime.forward_model import ForwardModel


async def rerank(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    settings, fields = runtime.settings, request.scope["metroline"]["fields"]
    wanted = parse(await read_body(request, settings.body_limit, settings.body_seconds), RerankRequest)
    await runtime.until_ready()
    served = able(runtime, request, wanted.model, ranks, "ranks no documents", "no_rerank")
    tokens = 0

    def admit(ready: "list[Prepared]") -> None:
        nonlocal tokens
        tokens = sum(each.size for item in ready for each in item.decoded)
        request.scope["metroline"]["caller"].spend(tokens, "input")
        fields.update(items=len(ready), prompt_tokens=tokens, completion_tokens=0)

    texts = wanted.texts
    if wanted.max_tokens_per_doc:
        most = min(wanted.max_tokens_per_doc, served.bundle.typed.inputs[1].length)  # type: ignore[union-attr]
        texts = await asyncio.to_thread(lambda: [served.prepare.cut(text, most) for text in texts])
    work = relevance(served, wanted.query, texts, fields["request_id"], admit)
    scores = await while_connected(request.receive, work)
    return JSONResponse(answer(fields["request_id"], served.name, wanted, scores, tokens))


async def relevance(
    served: "ForwardModel", query: str, texts: Sequence[str], request_id: str,
    admit: "Callable[[list[Prepared]], None] | None" = None,
) -> list[float]:  # fmt: skip
    """The score of each text, 0 to 1, in their order. Raises ApiError, as the engine's `answer`."""
    window = min(BATCHES * served.engine.largest, served.engine.most)
    items = [(query, text) for text in texts]
    found = await served.engine.answer(items, request_id, window=window, admit=admit, param="documents")
    return [float(arrays[0][1]) for arrays in found]
