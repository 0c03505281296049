"""OpenAI's chat completions: the request's own fields, and its answers built, whole or in chunks.

Source: https://platform.openai.com/docs/api-reference/chat. Answers with calls are serving/routes/call_answer.py's.
"""

import time
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, ValidationInfo, field_validator

from data.text.tools import MOST_TOOLS, FunctionDefinition, Tool, check_names
from serving.engines.decode.call_styles import Choice
from serving.engines.decode.grammar import check_size
from serving.engines.decode.sequence import TokenEvent
from serving.engines.decode.text import Vocabulary, show
from serving.routes.chat_messages import Message
from serving.routes.schema import MOST, GenerationRequest, check_text, texts
from serving.routes.tool_choice import NamedTool, check_choice

MOST_LOGPROBS = 20
MOST_MESSAGES = 2048


class ChatRequest(GenerationRequest):
    """Body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], FailFast()] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_tokens: int | None = Field(default=None, ge=1, le=MOST, description="default: as many as fit")
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST, description="the newer name of max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    tools: list[Tool] | None = Field(default=None, min_length=1, max_length=MOST_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = Field(
        default=None, description="default: auto; required and a tool by name are forced"
    )
    parallel_tool_calls: bool | None = Field(default=None, description="default: true; else one call at most")
    sources: str | None = Field(
        default=None, description="an index that is served: answer from its documents, with citations"
    )
    # Accepted since clients send them; they change nothing here.
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # Known and refused.
    functions: Annotated[list[Any] | None, Field(max_length=0)] = None
    function_call: Annotated[str | None, Field(max_length=0)] = None
    audio: Annotated[dict[str, Any] | None, Field(max_length=0)] = None
    prediction: Annotated[dict[str, Any] | None, Field(max_length=0)] = None
    modalities: list[Literal["text"]] | None = None

    @field_validator("messages", "tools", mode="before")
    @classmethod
    def _writable(cls, entries: object) -> object:
        for text in texts(entries):
            check_text(text)
        return entries

    @field_validator("top_logprobs")
    @classmethod
    def _likeliest(cls, count: int | None, info: ValidationInfo) -> int | None:
        if count is not None and not info.data.get("logprobs"):
            raise ValueError("needs logprobs: true")
        return count

    @field_validator("tools")
    @classmethod
    def _distinct(cls, tools: list[Tool] | None) -> list[Tool] | None:
        check_names(tools or [])
        check_size([tool.function.schema_of_arguments for tool in tools or []])
        return tools

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _choice(cls, given: object, info: ValidationInfo) -> object:
        return check_choice(given, info.data.get("tools"))

    @property
    def callable(self) -> list[FunctionDefinition]:
        """What may be called."""
        return [] if self.tool_choice == "none" else [tool.function for tool in self.tools or ()]

    @property
    def calls(self) -> Choice:
        """What is said about calls, where there is something to call."""
        named = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None
        names = (named,) if named else tuple(function.name for function in self.callable)
        forced = named is not None or self.tool_choice == "required"
        return Choice(names, forced, parallel=self.parallel_tool_calls is not False and named is None)

    @property
    def limit(self) -> int | None:
        """Most tokens of the answer; None: not said."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def likeliest(self) -> int | None:
        """How many of the likeliest tokens to report with each token; None: no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


class ChatAnswer:
    """Builds the answer, whole or in chunks, from a request's events."""

    def __init__(self, identity: str, model: str, version: str, vocabulary: Vocabulary, *, logprobs: bool) -> None:
        self._identity = {"id": identity, "created": int(time.time()), "model": model,
                          "system_fingerprint": f"fp_{version}"}  # fmt: skip
        self._logprobs, self._vocabulary = logprobs, vocabulary

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """Chunks before the first text: each choice says who speaks."""
        delta = {"role": "assistant", "content": ""}
        return [self._chunk({"index": i, "delta": delta, "logprobs": None, "finish_reason": None})
                for i in range(choices)]  # fmt: skip

    def chunk(self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None) -> dict[str, Any]:
        """One chunk of a stream."""
        delta = {"content": text} if text or events else {}
        logprobs = self._shown(events) if events else None
        return self._chunk({"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason})

    steady = True

    def chunks(
        self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None
    ) -> list[dict[str, Any]]:
        """The chunks of a stream that a text makes."""
        return [self.chunk(choice, text, events, reason)]

    def choice(self, choice: int, text: str, events: list[TokenEvent], reason: str | None) -> dict[str, Any]:
        """One entry of a whole answer, below `choices`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": choice, "message": message, "logprobs": self._shown(events), "finish_reason": reason}

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """The whole answer."""
        return {**self._identity, "object": "chat.completion", "choices": choices, "usage": usage}

    def last(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last chunk of a stream that asked for usage."""
        return {**self._identity, "object": "chat.completion.chunk", "choices": [], "usage": usage}

    def _chunk(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**self._identity, "object": "chat.completion.chunk", "choices": [entry]}

    def _shown(self, events: list[TokenEvent]) -> dict[str, Any] | None:
        """OpenAI's `logprobs` object for these tokens."""
        if not self._logprobs:
            return None
        content = [
            {**_token(event.raw, event.logprob),
             "top_logprobs": [_token(*each) for each in event.likeliest(self._vocabulary)]}
            for event in events
        ]  # fmt: skip
        return {"content": content, "refusal": None}


def _token(raw: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": show(raw), "logprob": logprob, "bytes": list(raw)}
