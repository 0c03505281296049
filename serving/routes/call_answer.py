"""Answers of a chat with tools: text, or calls in OpenAI's form, whole or in chunks.

    {"id": "call_...", "type": "function", "function": {"name": "weather", "arguments": "{\\"city\\": \\"Ulm\\"}"}}

A call that `max_tokens` cuts is what OpenAI makes of it: the arguments are there as far as they go, which is no JSON,
and the reason is `length`, never `tool_calls`. Where a stop string might cut one, only complete calls are sent.
"""

import uuid
from typing import Any

from serving.engines.decode.call_reader import Arguments, Begun, CallReader, Part, Text
from serving.engines.decode.call_styles import CallStyle
from serving.engines.decode.sequence import TokenEvent
from serving.routes.chat_schema import ChatAnswer


class CallAnswer(ChatAnswer):
    """Builds the answer from a request's events."""

    steady = False

    def __init__(self, *identity: Any, style: CallStyle, whole: bool, **options: Any) -> None:
        """`whole`: calls are sent when they are complete; the rest is ChatAnswer's."""
        super().__init__(*identity, **options)
        self._style, self._whole = style, whole
        self._readers: dict[int, CallReader] = {}

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """Chunks before the first text: each choice says who speaks."""
        delta = {"role": "assistant", "content": None}
        return [self._chunk({"index": i, "delta": delta, "logprobs": None, "finish_reason": None})
                for i in range(choices)]  # fmt: skip

    def chunks(
        self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None
    ) -> list[dict[str, Any]]:
        """The chunks of a stream that a text makes, perhaps none."""
        parts, reason = self._read(choice, text, reason)
        deltas = [_delta(part) for part in parts]
        if reason is not None or (events and not deltas):
            deltas.append({} if reason is not None else {"content": ""})
        logprobs = [self._shown(events) if events else None] + [None] * len(deltas)
        return [
            self._chunk({"index": choice, "delta": delta, "logprobs": logprobs[number],
                         "finish_reason": reason if number == len(deltas) - 1 else None})
            for number, delta in enumerate(deltas)
        ]  # fmt: skip

    def choice(self, choice: int, text: str, events: list[TokenEvent], reason: str | None) -> dict[str, Any]:
        """One entry of a whole answer, below `choices`."""
        parts, reason = self._read(choice, text, reason)
        content = "".join(part.text for part in parts if isinstance(part, Text))
        calls: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, Begun):
                calls.append(_call(part.name))
            elif isinstance(part, Arguments):
                calls[part.number]["function"]["arguments"] += part.text
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content if content or not calls else None,
            "refusal": None,
        }
        if calls:
            message["tool_calls"] = calls
        return {"index": choice, "message": message, "logprobs": self._shown(events), "finish_reason": reason}

    def _read(self, choice: int, text: str, reason: str | None) -> tuple[list[Part], str | None]:
        """What a text, and the end where there is a reason, adds to a choice."""
        reader = self._readers.setdefault(choice, CallReader(self._style, whole=self._whole))
        parts = reader.push(text)
        if reason is None:
            return parts, None
        rest, reason = reader.finish(reason)
        return [*parts, *rest], reason


def _call(name: str) -> dict[str, Any]:
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": {"name": name, "arguments": ""}}


def _delta(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"content": part.text}
    if isinstance(part, Begun):
        return {"tool_calls": [{"index": part.number, **_call(part.name)}]}
    return {"tool_calls": [{"index": part.number, "function": {"arguments": part.text}}]}
