"""What happens to a POST /v1/completions between its body and its answer.

Read and check the body, tokenize, submit to the engine, and turn the engine's events into one answer or a stream.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serving.errors import ApiError, invalid, too_large, too_long, unknown_model
from serving.runtime import Runtime
from serving.schema import Answer, CompletionRequest, parse
from serving.sequence import FinishEvent, TokenEvent
from serving.sequence import Request as EngineRequest
from serving.stream import DONE, EventStream, event, while_connected

if TYPE_CHECKING:  # it brings ONNX Runtime, which is imported while the server already answers
    from serving.engine import Stream

DISCARD = 64 << 20
"""Bytes of an over-large body that are read and dropped, so that its client gets to read the 413."""


async def complete(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    parsed = parse(await read_body(request, runtime.settings.body_limit, runtime.settings.body_seconds))
    await runtime.until_ready()
    fields = request.scope.get("metroline", {}).get("fields", {})
    wanted = _engine_request(runtime, parsed, fields.get("request_id", ""))
    tokens_in = sum(map(len, wanted.prompts))
    fields |= {"stream": bool(parsed.stream), "prompt_tokens": tokens_in}
    answer = Answer(parsed, f"cmpl-{uuid.uuid4().hex}", runtime.bundle.name, runtime.bundle.version, runtime.vocabulary)
    if parsed.stream:
        usage = bool(parsed.stream_options and parsed.stream_options.include_usage)
        return EventStream(_chunks(runtime, wanted, answer, fields, usage))
    return await while_connected(request.receive, _whole(runtime, wanted, answer, fields))


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
        check_model(runtime, request.model)
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


def _note(fields: dict[str, Any], stream: "Stream", tokens_out: int) -> None:
    """What the log says about a completion."""
    fields["completion_tokens"] = tokens_out
    started = stream.started or time.monotonic()
    fields["queue_seconds"] = round(started - stream.submitted, 4)
    if stream.first_token is not None:
        fields["first_token_seconds"] = round(stream.first_token - stream.submitted, 4)


def check_model(runtime: Runtime, model: str) -> None:
    """Raise ApiError 404 unless `model` is what is served, by its name or its name:version."""
    bundle = runtime.bundle
    if model not in (bundle.name, f"{bundle.name}:{bundle.version}"):
        raise unknown_model(model, bundle.name)
