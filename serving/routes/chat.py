"""What happens to a POST /v1/chat/completions between its body and the engine.

Not the terminal's chat: that is pipelines/commands/chat.py, a client.
"""

import uuid

from fastapi import Request, Response

from serving.routes.chat_schema import ChatAnswer, ChatRequest
from serving.routes.generation import Job, check_count, engine_request, read, respond
from serving.runtime.runtime import Runtime


async def chat(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    parsed, served = await read(runtime, request, ChatRequest)
    from serving.routes.prompts import chat_tokens

    bundle, fields = served.bundle, request.scope["metroline"]["fields"]
    check_count(runtime, 1, parsed.n)
    tools = None if parsed.tool_choice == "none" else parsed.tools
    prompt = chat_tokens(served, [message.plain() for message in parsed.messages], tools)
    # Not said: as many as fit, of what the bundle allows.
    max_tokens = parsed.limit or max(1, min(bundle.max_tokens, bundle.context - len(prompt)))
    wanted = engine_request(served, parsed, (prompt,), max_tokens, fields["request_id"], logprobs=parsed.likeliest)
    answer = ChatAnswer(f"chatcmpl-{uuid.uuid4().hex}", bundle.name, bundle.version, served.vocabulary,
                        logprobs=bool(parsed.logprobs))  # fmt: skip
    return await respond(request, Job(served, wanted, answer, fields, parsed.include_usage), stream=bool(parsed.stream))
