"""POST /v1/chat/completions with `sources`: found passages go into the prompt, and the answer cites them.

The last message is searched for by meaning and by words, and reranked where the index has a reranker. Where the best
passage's score (the reranker's, else its cosine) is below the index's threshold, the answer says that the sources have
nothing, and the model is not asked.
"""

import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serving.http.errors import ApiError, invalid
from serving.http.stream import DONE, EventStream, event, while_connected
from serving.routes.chat_schema import ChatRequest
from serving.routes.generation import Job, check_count, engine_request, respond
from serving.routes.search import index
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.engines.retrieve.engine import Found
    from serving.routes.cited.answer import CitedAnswer
    from serving.runtime.decoder_model import DecoderModel

PASSAGES = 5
"""Most passages that the model is shown."""
SEARCHED = 50
"""Passages among which the best cosine is looked for."""
ANSWER = 256
"""Tokens of an answer where the request does not say."""
APART = ("tools", "response_format", "logprobs", "stop")
"""Fields that say what the answer looks like, which the citations do."""


async def cited(runtime: Runtime, request: Request, parsed: ChatRequest, served: "DecoderModel") -> Response:
    """Answer a request. Raises ApiError."""
    from serving.routes.cited.answer import CitedAnswer

    check_count(runtime, 1, parsed.n)
    _check(parsed)
    searched, fields = index(runtime, parsed.sources, "sources"), request.scope["metroline"]["fields"]
    fields["sources"] = searched.name
    question = parsed.messages[-1].content or ""

    def spend(tokens: int) -> None:
        request.scope["metroline"]["caller"].spend(tokens, "input")
        fields.update(prompt_tokens=tokens)

    way = searched.engine.way
    work = searched.engine.search(question, SEARCHED, way, fields["request_id"], spend=spend, param="messages")
    found = await while_connected(request.receive, work)
    most = parsed.limit or min(ANSWER, served.bundle.max_tokens, served.bundle.context // 2)
    identity = f"chatcmpl-{uuid.uuid4().hex}"

    def answer(shown: "list[Found]") -> "CitedAnswer":
        bundle = served.bundle
        return CitedAnswer(identity, bundle.name, bundle.version, served.vocabulary, shown, searched.engine.passages)

    scores = (each.score if way == "reranked" else each.cosine for each in found)
    if max((score for score in scores if score is not None), default=-1.0) < searched.bundle.threshold:
        searched.engine.irrelevant()
        fields.update(stream=bool(parsed.stream), completion_tokens=0)
        return _nothing(answer([]), parsed)
    kept, prompt = _prompt(served, parsed, found[:PASSAGES], most)
    from serving.routes.cited.grammar import grammar

    wanted = engine_request(
        served, parsed, (prompt,), most, fields["request_id"],
        grammar({number: each.passage.text for number, each in enumerate(kept, 1)}),
    )  # fmt: skip
    job = Job(served, wanted, answer(kept), fields, parsed.include_usage)
    return await respond(request, job, stream=bool(parsed.stream))


def _check(parsed: ChatRequest) -> None:
    """Raise ApiError 400 for what does not go with sources."""
    if name := next((name for name in APART if getattr(parsed, name)), None):
        message = f"{name} does not go with sources: the answer is statements with citations."
        raise invalid(message, name, "not_with_sources")
    if parsed.messages[-1].role != "user":
        raise invalid("With sources the last message is the user's: it is what is searched for.", "messages")
    if not (parsed.messages[-1].content or "").strip():
        raise invalid("With sources the last message must not be empty: it is what is searched for.", "messages")


def _prompt(
    served: "DecoderModel", parsed: ChatRequest, found: "list[Found]", most: int
) -> "tuple[list[Found], tuple[int, ...]]":
    """As many of the passages, best first, as leave room for the answer, and the prompt with them.

    Raises ApiError 400: not even one fits.
    """
    from serving.routes.cited.prompt import messages
    from serving.routes.prompts import chat_tokens

    history = [message.plain() for message in parsed.messages]
    refused: ApiError | None = None
    for count in range(len(found), 0, -1):
        try:
            prompt = chat_tokens(served, messages(history, [each.passage for each in found[:count]]), None)
        except ApiError as error:
            if error.code != "context_length_exceeded":
                raise
            refused = error
            continue
        if len(prompt) + most <= served.bundle.context:
            return found[:count], prompt
    context = served.bundle.context
    message = f"A passage, the messages and {most} tokens of answer do not fit into {context} tokens. Shorten them."
    raise invalid(message, "messages", "context_length_exceeded") from refused


def _nothing(answer: "CitedAnswer", parsed: ChatRequest) -> Response:
    """The answer where nothing relevant was found."""
    from serving.routes.cited.grammar import NOTHING

    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    choices = range(parsed.n or 1)
    if not parsed.stream:
        return JSONResponse(answer.whole([answer.choice(each, NOTHING, [], "stop") for each in choices], usage))

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in answer.opening(len(choices)):
            yield event(chunk)
        for chunk in (chunk for each in choices for chunk in answer.chunks(each, NOTHING, [], "stop")):
            yield event(chunk)
        if parsed.include_usage:
            yield event(answer.last(usage))
        yield DONE

    return EventStream(chunks())
