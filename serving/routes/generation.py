"""What all requests for text go through once their prompt is known: to the engine, and its events into an answer.

One answer as JSON, or a stream of server-sent events; what these look like is the `Answer`'s own.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serving.engines.decode.grammar import Grammar
from serving.engines.decode.sequence import FinishEvent, TokenEvent
from serving.engines.decode.sequence import Request as EngineRequest
from serving.http.body import read_body
from serving.http.errors import invalid, wrong_engine
from serving.http.stream import DONE, EventStream, TextEvents, event, while_connected
from serving.routes.schema import GenerationRequest, Parsed, parse
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:  # it brings ONNX Runtime, which is imported while the server already answers
    from serving.engines.decode.outbox import Stream
    from serving.runtime.decoder_model import DecoderModel


class Answer(Protocol):
    """Builds the JSON of one kind of answer."""

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """Chunks before the first text."""

    steady: bool
    """All chunks with text alone are `chunk`, and differ in nothing but their text."""

    def chunk(self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None) -> dict[str, Any]:
        """One chunk of a stream."""

    def chunks(
        self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None
    ) -> list[dict[str, Any]]:
        """The chunks of a stream that a text makes."""

    def choice(self, choice: int, text: str, events: list[TokenEvent], reason: str | None) -> dict[str, Any]:
        """One entry of a whole answer's `choices`."""

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """The whole answer."""

    def last(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last chunk of a stream that asked for usage."""


@dataclass(frozen=True)
class Job:
    """A request that was checked and tokenized."""

    served: "DecoderModel"
    wanted: EngineRequest
    answer: Answer
    fields: dict[str, Any]
    """What the log will say about it."""
    usage: bool
    """A stream ends with a count of its tokens."""

    @property
    def tokens_in(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.wanted.prompts))

    @property
    def most_tokens(self) -> int:
        """What the request may come to, prompts and answers."""
        return self.tokens_in + len(self.wanted.prompts) * self.wanted.n * self.wanted.max_tokens


async def read(runtime: Runtime, request: Request, schema: type[Parsed]) -> "tuple[Parsed, DecoderModel]":
    """The request's body, checked, and the model that it is for. Raises ApiError."""
    settings = runtime.settings
    parsed = parse(await read_body(request, settings.body_limit, settings.body_seconds), schema)
    await runtime.until_ready()
    name = getattr(parsed, "model", None)
    served = runtime.routed(request.scope, runtime.pick(name, "decode"), name)
    from serving.runtime.decoder_model import DecoderModel

    if not isinstance(served, DecoderModel):
        raise wrong_engine(served.name, request.url.path, served.bundle.engine)
    return parsed, served


def check_count(runtime: Runtime, prompts: int, n: int | None) -> None:
    """Before any prompt is tokenized. Raises ApiError 400 for more completions than one request may ask for."""
    if (asked := prompts * (n or 1)) > runtime.settings.prompts:
        raise invalid(f"At most {runtime.settings.prompts} completions (prompts × n) in one request, not {asked}.", "n")


def engine_request(
    served: "DecoderModel", request: GenerationRequest, prompts: tuple[tuple[int, ...], ...],
    max_tokens: int, request_id: str, grammar: Grammar | None = None, **more: Any,
) -> EngineRequest:  # fmt: skip
    """What the engine is asked for. Raises ApiError 400 for more than one request may ask for.

    `grammar`: instead of the one that `response_format` says; `more`: logprobs, echo.
    """
    n, bundle = request.n or 1, served.bundle
    if max_tokens > bundle.max_tokens:
        raise invalid(f"max_tokens is at most {bundle.max_tokens} here, not {max_tokens}", "max_tokens")
    sampling = request.sampling
    if sampling.logit_bias and sampling.logit_bias[-1][0] >= bundle.vocab_size:
        raise invalid(f"logit_bias: token ids must be between 0 and {bundle.vocab_size - 1}", "logit_bias")
    # As the client writes them, and as the model does.
    stops = dict.fromkeys(form for stop in request.stops for form in (stop, bundle.form.apply(stop)))
    if grammar is None and request.response_format:
        grammar = request.response_format.grammar()
    return EngineRequest(
        id=request_id, prompts=prompts, n=n, max_tokens=max_tokens, sampling=sampling, stop=tuple(stops),
        ignore_eos=bool(request.ignore_eos), grammar=grammar, adapter=served.adapter,
        deadline=request.timeout, **more,
    )  # fmt: skip


async def respond(request: Request, job: Job, *, stream: bool) -> Response:
    """Generate, and answer in one piece or as a stream. Raises ApiError."""
    job.fields.update(stream=stream, prompt_tokens=job.tokens_in)
    request.scope["metroline"]["caller"].spend(job.most_tokens)
    if stream:
        return EventStream(_chunks(job))
    return await while_connected(request.receive, _whole(job))


async def _chunks(job: Job) -> AsyncIterator[bytes]:
    """The events of a streamed answer. A chunk without text is sent only where it carries log-probabilities."""
    answer, tokens_out = job.answer, 0
    texts: dict[int, TextEvents] = {}
    async with job.served.engine.submit(job.wanted) as stream:
        opening = answer.opening(len(job.wanted.prompts) * job.wanted.n)
        try:
            async for step in stream:
                for chunk in opening:  # not before the first event: a request that fails at once keeps its status
                    yield event(chunk)
                opening = []
                if isinstance(step, FinishEvent):
                    for chunk in answer.chunks(step.choice, step.text, [], step.reason):
                        yield event(chunk)
                elif isinstance(step, TokenEvent):
                    tokens_out += not step.prompt
                    if job.wanted.logprobs is not None or not answer.steady:
                        events = [] if job.wanted.logprobs is None else [step]
                        for chunk in answer.chunks(step.choice, step.text, events):
                            yield event(chunk)
                    elif step.text:
                        if step.choice not in texts:
                            texts[step.choice] = TextEvents(partial(answer.chunk, step.choice, events=[]))
                        yield texts[step.choice](step.text)
        finally:
            _note(job, stream, tokens_out)
    if job.usage:
        yield event(answer.last(_usage(job.tokens_in, tokens_out)))
    yield DONE


async def _whole(job: Job) -> Response:
    """A whole answer in one JSON object."""
    texts: dict[int, list[str]] = {}
    tokens: dict[int, list[TokenEvent]] = {}
    choices: dict[int, dict[str, Any]] = {}
    tokens_out = 0
    async with job.served.engine.submit(job.wanted) as stream:
        try:
            async for step in stream:
                if isinstance(step, FinishEvent):
                    text = "".join([*texts.pop(step.choice, []), step.text])
                    choices[step.choice] = job.answer.choice(
                        step.choice, text, tokens.pop(step.choice, []), step.reason
                    )
                elif isinstance(step, TokenEvent):
                    tokens_out += not step.prompt
                    texts.setdefault(step.choice, []).append(step.text)
                    if job.wanted.logprobs is not None:
                        tokens.setdefault(step.choice, []).append(step)
        finally:
            _note(job, stream, tokens_out)
    ordered = [choices[index] for index in sorted(choices)]
    return JSONResponse(job.answer.whole(ordered, _usage(job.tokens_in, tokens_out)))


def _usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def _note(job: Job, stream: "Stream", tokens_out: int) -> None:
    """What the log says about a completion, and its model counts."""
    fields = job.fields
    job.served.answered(job.tokens_in, tokens_out)
    fields["completion_tokens"] = tokens_out
    started = stream.started or time.monotonic()
    fields["queue_seconds"] = round(started - stream.submitted, 4)
    if stream.first_token is not None:
        fields["first_token_seconds"] = round(stream.first_token - stream.submitted, 4)
