"""The HTTP routes: OpenAI's completions and models, and the playground page with the bundle's card and curves.

The app is mounted in BentoML's service (`serving/service.py`), which adds /livez, /readyz and /metrics.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from serving.errors import ApiError, internal, invalid, too_large, too_long, unknown_model, unknown_route, wrong_method
from serving.runtime import Runtime
from serving.schema import Answer, CompletionRequest, parse
from serving.sequence import FinishEvent, TokenEvent
from serving.sequence import Request as EngineRequest
from serving.stream import DONE, ClientGoneError, EventStream, event, while_connected

WEB = Path(__file__).parent / "web"
DISCARD = 64 << 20
"""Bytes of an over-large body that are read and dropped, so that its client gets to read the 413."""
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
    schema = CompletionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    body = {"required": True, "content": {"application/json": {"schema": {**schema, "$defs": definitions}}}}

    @app.post("/v1/completions", openapi_extra={"requestBody": body})
    async def completions(request: Request) -> Response:
        """Continue one or more prompts."""
        parsed = parse(await read_body(request, runtime.settings.body_limit, runtime.settings.body_seconds))
        await runtime.until_ready()
        return await _complete(runtime, request, parsed)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model that is served."""
        await runtime.until_ready()
        return {"object": "list", "data": [_describe(runtime)]}

    @app.get("/v1/models/{model}")
    async def model(model: str) -> dict[str, Any]:
        """The served model, by its name or its name:version."""
        await runtime.until_ready()
        _check_model(runtime, model)
        return _describe(runtime)

    @app.get("/card")
    async def card() -> Response:
        """The model card, as Markdown."""
        return await _bundle_file(runtime, "README.md", "text/markdown; charset=utf-8")

    @app.get("/card/{name}")
    async def picture(name: str) -> Response:
        """A picture that the model card shows."""
        if not name.endswith(".png"):
            raise unknown_route("GET", f"/card/{name}")
        return await _bundle_file(runtime, name, "image/png")

    @app.get("/curves.png")
    async def curves() -> Response:
        """The training curves."""
        return await _bundle_file(runtime, "curves.png", "image/png")

    @app.get("/")
    async def playground() -> Response:
        """The playground."""
        return _web_file("index.html")

    @app.get("/web/{name}")
    async def web(name: str) -> Response:
        """The playground's style sheet, script and icon."""
        return _web_file(name)

    return app


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The request's body. Raises ApiError: 413 over `limit` bytes, 415 not JSON, 408 too slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # Also a guard: a web page of another site can post text, but not JSON, without being asked for permission.
        raise ApiError(415, "Send JSON, with Content-Type: application/json.", code="unsupported_media_type")
    length = request.headers.get("content-length", "0")
    announced = int(length) if length.isdecimal() else 0
    if announced > limit and request.headers.get("expect", "").lower() == "100-continue":
        raise too_large(limit)
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    body.clear()
                    if size > DISCARD:
                        break
                else:
                    body += chunk
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {seconds:g} s.", code="request_timeout") from None
    if size > limit:
        raise too_large(limit)
    return bytes(body)


def _engine_request(runtime: Runtime, request: CompletionRequest, request_id: str) -> EngineRequest:
    """Tokenize and check what depends on the model. Raises ApiError 400 or 404."""
    bundle, vocabulary = runtime.bundle, runtime.vocabulary
    if request.model is not None:
        _check_model(runtime, request.model)
    n = request.n or 1
    if request.best_of not in (None, n):
        raise invalid("best_of is not supported by this server, except equal to n", "best_of", "unsupported_parameter")
    most = runtime.settings.prompts
    if len(request.prompts) * n > most:
        raise invalid(f"At most {most} completions (prompts × n) in one request, not {len(request.prompts) * n}.", "n")
    max_tokens = min(16, bundle.max_tokens) if request.max_tokens is None else request.max_tokens
    if max_tokens > bundle.max_tokens:
        raise invalid(f"max_tokens is at most {bundle.max_tokens} here, not {max_tokens}", "max_tokens")
    if max_tokens == 0 and not request.echo:
        raise invalid("max_tokens must be at least 1, unless echo is true", "max_tokens")
    prompts = []
    for prompt in request.prompts:
        # A megabyte of text would hold up all streams while it is tokenized.
        if isinstance(prompt, str) and (least := vocabulary.least_tokens(prompt)) > bundle.context:
            raise too_long(f"at least {least}", bundle.context)
        tokens = vocabulary.encode(prompt) if isinstance(prompt, str) else prompt
        if not all(0 <= token < bundle.vocab_size for token in tokens):
            raise invalid(f"token ids must be between 0 and {bundle.vocab_size - 1}", "prompt")
        if isinstance(prompt, str) and (unknown := vocabulary.unknown_characters(prompt, tokens)):
            raise invalid(f"This model has never seen these characters: {unknown[:20]}", "prompt", "unknown_characters")
        if len(tokens) > bundle.context:
            raise too_long(str(len(tokens)), bundle.context)
        prompts.append(tuple(tokens))
    return EngineRequest(
        id=request_id, prompts=tuple(prompts), n=n, max_tokens=max_tokens, sampling=request.sampling,
        stop=request.stops, logprobs=request.logprobs, echo=bool(request.echo), ignore_eos=bool(request.ignore_eos),
    )  # fmt: skip


async def _complete(runtime: Runtime, request: Request, parsed: CompletionRequest) -> Response:
    fields = request.scope.get("metroline", {}).get("fields", {})
    wanted = _engine_request(runtime, parsed, fields.get("request_id", ""))
    tokens_in = sum(map(len, wanted.prompts))
    fields |= {"stream": bool(parsed.stream), "prompt_tokens": tokens_in}
    answer = Answer(parsed, f"cmpl-{uuid.uuid4().hex}", runtime.bundle.name, runtime.bundle.version, runtime.vocabulary)
    if parsed.stream:
        usage = bool(parsed.stream_options and parsed.stream_options.include_usage)
        return EventStream(_chunks(runtime, wanted, answer, fields, usage))
    return await while_connected(request.receive, _whole(runtime, wanted, answer, fields))


async def _chunks(
    runtime: Runtime, wanted: EngineRequest, answer: Answer, fields: dict[str, Any], usage: bool
) -> AsyncIterator[bytes]:
    """The events of a streamed answer. A chunk without text is sent only where it carries log-probabilities."""
    tokens_out = 0
    async with runtime.engine.submit(wanted) as stream:
        try:
            async for step in stream:
                if isinstance(step, FinishEvent):
                    yield event(answer.chunk(step.choice, step.text, [], step.reason))
                elif isinstance(step, TokenEvent):
                    tokens_out += not step.prompt
                    if step.text or wanted.logprobs is not None:
                        yield event(answer.chunk(step.choice, step.text, [step]))
        finally:
            _note(fields, stream, tokens_out)
    if usage:
        yield event(answer.usage(sum(map(len, wanted.prompts)), tokens_out))
    yield DONE


async def _whole(runtime: Runtime, wanted: EngineRequest, answer: Answer, fields: dict[str, Any]) -> Response:
    """A whole answer in one JSON object."""
    texts: dict[int, list[str]] = {}
    tokens: dict[int, list[TokenEvent]] = {}
    choices, tokens_out = [], 0
    async with runtime.engine.submit(wanted) as stream:
        try:
            async for step in stream:
                if isinstance(step, FinishEvent):
                    text = "".join([*texts.pop(step.choice, []), step.text])
                    choices += answer.chunk(step.choice, text, tokens.pop(step.choice, []), step.reason)["choices"]
                elif isinstance(step, TokenEvent):
                    tokens_out += not step.prompt
                    texts.setdefault(step.choice, []).append(step.text)
                    if wanted.logprobs is not None:
                        tokens.setdefault(step.choice, []).append(step)
        finally:
            _note(fields, stream, tokens_out)
    return JSONResponse(answer.usage(sum(map(len, wanted.prompts)), tokens_out, choices))


def _note(fields: dict[str, Any], stream: Any, tokens_out: int) -> None:
    """What the log says about a completion."""
    fields["completion_tokens"] = tokens_out
    started = stream.started or time.monotonic()
    fields["queue_seconds"] = round(started - stream.submitted, 4)
    if stream.first_token is not None:
        fields["first_token_seconds"] = round(stream.first_token - stream.submitted, 4)


def _describe(runtime: Runtime) -> dict[str, Any]:
    bundle = runtime.bundle
    return {
        "id": bundle.name, "object": "model", "created": bundle.created, "owned_by": "metroline",
        "version": bundle.version, "precision": bundle.precision, "data_hash": bundle.data_hash,
        "context": bundle.context, "max_tokens": bundle.max_tokens, "vocab_size": bundle.vocab_size,
    }  # fmt: skip


def _check_model(runtime: Runtime, model: str) -> None:
    bundle = runtime.bundle
    if model not in (bundle.name, f"{bundle.name}:{bundle.version}"):
        raise unknown_model(model, bundle.name)


async def _bundle_file(runtime: Runtime, name: str, media_type: str) -> Response:
    await runtime.until_ready()
    path = runtime.bundle.path / name
    if name not in runtime.bundle.files:
        raise ApiError(404, f"This model's bundle has no {name}.", code="not_in_bundle", reason=None)
    return FileResponse(path, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


def _web_file(name: str) -> Response:
    path = WEB / name
    if path.parent != WEB or not path.is_file():
        raise unknown_route("GET", f"/web/{name}")
    return FileResponse(path, headers={**SECURITY, "Cache-Control": "no-cache"})


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    fields = request.scope.get("metroline", {}).get("fields", {})
    fields["reason"], fields["code"] = error.reason, error.code
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors, in OpenAI's schema."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
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
