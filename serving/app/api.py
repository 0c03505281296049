"""The HTTP routes: OpenAI's completions, chat, embeddings, transcriptions and models, Cohere's rerank; search; the
playground and the card.

Beside them BentoML answers /livez, /readyz and /metrics (`serving/app/service.py`).
"""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from serving.app.route_table import WEB
from serving.http import openapi
from serving.http.errors import ApiError, internal, unknown_route, wrong_method
from serving.http.stream import ClientGoneError
from serving.routes import delivery, described, feedback, inference_protocol, predict, transcriptions
from serving.routes.chat import chat
from serving.routes.chat_schema import ChatRequest
from serving.routes.completion_schema import CompletionRequest
from serving.routes.completions import complete
from serving.routes.embeddings import embed
from serving.routes.embeddings_schema import EmbeddingsRequest
from serving.routes.feedback import FeedbackRequest
from serving.routes.rerank import rerank
from serving.routes.rerank_schema import RerankRequest
from serving.routes.search import search
from serving.routes.search_schema import SearchRequest
from serving.runtime.runtime import Runtime

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

log = logging.getLogger("metroline.api")


def build(runtime: Runtime) -> FastAPI:
    """The FastAPI app over a runtime, which may still be loading."""
    app = FastAPI(title="Metroline", docs_url=None, redoc_url=None, openapi_url="/openapi.json", redirect_slashes=False)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGoneError, _client_gone)
    app.add_exception_handler(Exception, _unexpected)

    @app.post("/v1/completions", openapi_extra=openapi.body(CompletionRequest))
    async def completions(request: Request) -> Response:
        """Continue one or more prompts."""
        return await complete(runtime, request)

    @app.post("/v1/chat/completions", openapi_extra=openapi.body(ChatRequest))
    async def chat_completions(request: Request) -> Response:
        """Answer the last message of a chat."""
        return await chat(runtime, request)

    @app.post("/v1/embeddings", openapi_extra=openapi.body(EmbeddingsRequest))
    async def embeddings(request: Request) -> Response:
        """Make vectors of texts."""
        return await embed(runtime, request)

    @app.post("/v1/audio/transcriptions", openapi_extra=transcriptions.BODY)
    async def transcriptions_route(request: Request) -> Response:
        """Write down what is said in a clip."""
        return await transcriptions.transcribe(runtime, request)

    @app.post("/v1/rerank", openapi_extra=openapi.body(RerankRequest))
    @app.post("/v2/rerank", openapi_extra=openapi.body(RerankRequest))
    async def rerank_route(request: Request) -> Response:
        """Put documents in the order in which they answer a query."""
        return await rerank(runtime, request)

    @app.post("/v1/search", openapi_extra=openapi.body(SearchRequest))
    async def search_route(request: Request) -> Response:
        """Find passages of an index's documents."""
        return await search(runtime, request)

    @app.post(predict.PATH, openapi_extra=described.ANY)
    async def predict_route(request: Request, model: str) -> Response:
        """Answer an input, or a batch, of a model that answers in one call."""
        return await predict.predict(runtime, request, model)

    @app.post(feedback.PATH, openapi_extra=openapi.body(FeedbackRequest))
    async def feedback_route(request: Request) -> dict[str, Any]:
        """Say what was right, of a request that was answered."""
        return await feedback.feedback(runtime, request)

    inference_protocol.add(app, runtime)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The models that are served; the first one answers where a request names none."""
        await runtime.until_ready()
        return {"object": "list", "data": [served.describe() for served in runtime.models]}

    @app.get("/v1/models/{model}")
    async def model(model: str) -> dict[str, Any]:
        """A served model, by its name or its name:version; an adapter as base:adapter."""
        await runtime.until_ready()
        return runtime.pick(model).describe()

    @app.get(delivery.PATH)
    async def candidate(model: str) -> dict[str, Any]:
        """The candidate that is tried beside a model, and what is known of it."""
        return await delivery.delivery(runtime, model)

    @app.get("/card")
    async def card(model: str | None = None) -> Response:
        """A model's card, as Markdown."""
        return await _bundle_file(runtime, model, "README.md", "text/markdown; charset=utf-8")

    @app.get("/card/{name}")
    async def picture(name: str, model: str | None = None) -> Response:
        """A picture that a model's card shows, such as curves.png."""
        if not name.endswith(".png"):
            raise unknown_route("GET", f"/card/{name}")
        return await _bundle_file(runtime, model, name, "image/png")

    @app.get("/")
    async def playground() -> Response:
        """The playground."""
        return _web_file("index.html")

    @app.get("/status")
    async def status() -> Response:
        """A page with the last hour of each model."""
        return _web_file("status.html")

    @app.get("/status.json")
    async def hour() -> dict[str, Any]:
        """What it draws."""
        series = runtime.history.series(each.name for each in runtime.models)
        return {**series, "deliveries": {name: each.state() for name, each in runtime.deliveries.items()}}

    @app.get("/web/{name}")
    async def web(name: str) -> Response:
        """The playground's style sheet, scripts and icon."""
        return _web_file(name)

    bodies = (CompletionRequest, ChatRequest, EmbeddingsRequest, RerankRequest, SearchRequest, FeedbackRequest)
    openapi.complete(app, bodies, lambda made: described.add(made, runtime))
    return app


async def _bundle_file(runtime: Runtime, model: str | None, name: str, media_type: str) -> Response:
    await runtime.until_ready()
    bundle = runtime.pick(model).bundle
    if name not in bundle.files:
        raise ApiError(404, f"This model's bundle has no {name}.", code="not_in_bundle", reason=None)
    return FileResponse(bundle.path / name, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


def _web_file(name: str) -> Response:
    if name not in {path.name for path in WEB.iterdir()}:
        raise unknown_route("GET", f"/web/{name}")
    return FileResponse(WEB / name, headers={**SECURITY, "Cache-Control": "no-cache"})


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    fields = request.scope.get("metroline", {}).get("fields", {})
    fields["reason"], fields["code"] = error.reason, error.code
    return JSONResponse(error.body(request.scope["path"]), status_code=error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors, in OpenAI's schema."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        allowed = "GET, HEAD" if allowed == "GET" else allowed
        return await _api_error(request, wrong_method(request.method, path, allowed))
    if error.status_code == 404:
        return await _api_error(request, unknown_route(request.method, path))
    return await _api_error(request, ApiError(error.status_code, str(error.detail)))


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _unexpected(request: Request, error: Exception) -> Response:
    """A bug: logged under the request's id, answered without details."""
    request_id = request.scope.get("metroline", {}).get("fields", {}).get("request_id", "")
    log.error("unexpected error", exc_info=error, extra={"fields": {"request_id": request_id}})
    return await _api_error(request, internal(request_id))
