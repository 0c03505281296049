"""What happens to a POST /v1/completions between its body and the engine."""

import uuid

from fastapi import Request, Response

from serving.http.errors import invalid
from serving.routes.completion_schema import CompletionAnswer, CompletionRequest
from serving.routes.generation import Job, check_count, engine_request, read, respond
from serving.runtime.runtime import Runtime

DEFAULT_TOKENS = 16
"""As OpenAI's."""


async def complete(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    parsed, served = await read(runtime, request, CompletionRequest)
    from serving.routes.prompts import fitting, text_tokens

    bundle, fields = served.bundle, request.scope["metroline"]["fields"]
    if parsed.best_of not in (None, parsed.n or 1):
        raise invalid("best_of is not supported by this server, except equal to n", "best_of", "unsupported_parameter")
    max_tokens = min(DEFAULT_TOKENS, bundle.max_tokens) if parsed.max_tokens is None else parsed.max_tokens
    if max_tokens == 0 and not parsed.echo:
        raise invalid("max_tokens must be at least 1, unless echo is true", "max_tokens")
    check_count(runtime, len(parsed.prompts), parsed.n)
    prompts = tuple(
        text_tokens(served, prompt, "prompt") if isinstance(prompt, str) else fitting(served, tuple(prompt), "prompt")
        for prompt in parsed.prompts
    )
    wanted = engine_request(served, parsed, prompts, max_tokens, fields["request_id"],
                            logprobs=parsed.logprobs, echo=bool(parsed.echo))  # fmt: skip
    answer = CompletionAnswer(f"cmpl-{uuid.uuid4().hex}", bundle.name, bundle.version, served.vocabulary,
                              logprobs=parsed.logprobs is not None)  # fmt: skip
    job = Job(served, wanted, answer, fields, parsed.include_usage)
    return await respond(request, job, stream=bool(parsed.stream))
