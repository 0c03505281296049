"""What happens to a POST /v1/chat/completions between its body and the engine.

Not the terminal's chat: that is pipelines/commands/chat.py, a client.
"""

import json
import uuid
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from serving.engines.decode.call_styles import CallStyle
from serving.engines.decode.grammar import Grammar, check_size, json_rule
from serving.http.errors import invalid
from serving.routes.call_answer import CallAnswer
from serving.routes.chat_schema import ChatAnswer, ChatRequest
from serving.routes.cited.route import cited
from serving.routes.generation import Job, check_count, engine_request, read, respond
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.runtime.decoder_model import DecoderModel


async def chat(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    parsed, served = await read(runtime, request, ChatRequest)
    if parsed.sources is not None:
        return await cited(runtime, request, parsed, served)
    from serving.routes.prompts import chat_tokens

    bundle, fields = served.bundle, request.scope["metroline"]["fields"]
    check_count(runtime, 1, parsed.n)
    style, grammar = _calls(parsed, served)
    tools = [tool.shown() for tool in parsed.tools or ()] if parsed.callable else None
    prompt = chat_tokens(served, [message.plain() for message in parsed.messages], tools)
    # Not said: as many as fit, of what the bundle allows.
    max_tokens = parsed.limit or max(1, min(bundle.max_tokens, bundle.context - len(prompt)))
    wanted = engine_request(
        served, parsed, (prompt,), max_tokens, fields["request_id"], grammar, logprobs=parsed.likeliest
    )
    identity = f"chatcmpl-{uuid.uuid4().hex}", bundle.name, bundle.version, served.vocabulary
    logprobs = bool(parsed.logprobs)
    answer = (
        ChatAnswer(*identity, logprobs=logprobs)
        if style is None
        else CallAnswer(*identity, logprobs=logprobs, style=style, whole=bool(parsed.stops))
    )
    return await respond(request, Job(served, wanted, answer, fields, parsed.include_usage), stream=bool(parsed.stream))


def _calls(parsed: ChatRequest, served: "DecoderModel") -> tuple[CallStyle | None, Grammar | None]:
    """How the answer calls tools, and what holds it to that; None where it may not, or calls come back as text.

    Raises ApiError 400: a call is forced and it is not known how this model writes one.
    """
    functions, choice, style = parsed.callable, parsed.calls, served.calls
    if not functions or served.chats is None:
        return None, None
    if style is None:
        if choice.forced:
            message = f"{served.name}'s chat template writes calls of tools in no form that is known here"
            raise invalid(f"{message}, so that none can be forced.", "tool_choice", "no_tool_calls")
        return None, None
    wanted = parsed.response_format.grammar() if parsed.response_format and not choice.forced else None
    if wanted is not None and wanted.kind == "regex":
        raise invalid("response_format regex and tools are not supported together", "response_format")
    answer = None if wanted is None else json_rule(_bounded(wanted))
    return style, Grammar("calls", style.grammar(functions, choice, answer))


def _bounded(wanted: Grammar) -> dict[str, Any]:
    """The JSON schema of an answer that is no call. Raises ApiError 400 for one that takes too long to follow."""
    schema: dict[str, Any] = json.loads(wanted.text) if wanted.text else {"type": "object"}
    try:
        check_size([schema])
    except ValueError as error:
        raise invalid(f"The JSON schema cannot be followed: {error}", "response_format", "invalid_grammar") from None
    return schema
