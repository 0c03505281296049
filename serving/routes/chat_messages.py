"""The messages of a chat, as clients send them and as templates read them.

A client's history holds answers as its library dumps them: with fields that are null or empty, and with fields that say
something about an answer but are no part of what was said. Neither is an error; what might change an answer and is not
known is one.
"""

from typing import Any, Literal

from pydantic import BaseModel, field_validator, model_validator

from serving.routes.schema import STRICT
from serving.routes.tool_calls import ToolCall

NOT_SAID = frozenset((
    "annotations", "cache_control", "created_at", "id", "metadata", "object", "parsed", "provider_specific_fields",
    "reasoning", "reasoning_details", "status", "thinking_blocks", "timestamp", "type", "weight",
))  # fmt: skip
"""Fields of a message that OpenAI's client, gateways and chat programs add, and that no prompt has a place for."""
REFUSED = {
    "audio": "may not have audio; this model reads text",
    "function_call": "may not have function_call, the older form of tool_calls; send tool_calls",
}
TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""Type of a content part → where its text is."""


class Message(BaseModel):
    """One message. Its content is text, or a list of parts with text."""

    model_config = STRICT

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _dumped(cls, values: object) -> object:
        """Without what a client's library adds."""
        if not isinstance(values, dict):
            return values
        for name, why in REFUSED.items():
            if values.get(name):
                raise ValueError(why)
        return {
            name: value
            for name, value in values.items()
            if name in cls.model_fields or not (name in NOT_SAID or value in (None, "", [], {}))
        }

    @field_validator("content", mode="before")
    @classmethod
    def _content(cls, content: object) -> object:
        if not isinstance(content, list):
            if content is None or isinstance(content, str):
                return content
            raise ValueError("must be a string or a list of parts")
        texts = []
        for part in content:
            text = part.get(TEXT_PARTS.get(str(part.get("type")))) if isinstance(part, dict) else None
            if not isinstance(text, str):
                raise ValueError('may have only parts {"type": "text", "text": ...}; this model reads nothing else')
            texts.append(text)
        return "".join(texts)

    @model_validator(mode="after")
    def _complete(self) -> "Message":
        if self.content is None and self.role != "assistant":
            raise ValueError("needs content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("of role tool needs tool_call_id, the id of the call that it answers")
        return self

    def plain(self) -> dict[str, Any]:
        """As templates read it: `developer`, OpenAI's newer word for it, is the system; a refusal is what was said.

        What is not there is left out: templates ask whether a message has `tool_calls`, not whether it has any.
        """
        values = {
            "name": self.name,
            "reasoning_content": self.reasoning_content,
            "tool_calls": [call.plain() for call in self.tool_calls or ()],
            "tool_call_id": self.tool_call_id,
        }
        return {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.content or self.refusal or "",
            **{name: value for name, value in values.items() if value},
        }
