"""The messages of a chat out of a row: a list in one field, prompt and completion, or columns through templates.

    messages = of_row({"instruction": "Add.", "input": "1 + 1", "output": "2"},
                      ChatConfig(user="{instruction}\n{input}", assistant="{output}"))

A row that is no chat with an answer raises BadRow, with a reason that `prepare` counts. Which of its tokens are learnt
is data/text/chat.py's.
"""

import string
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data.text.tools import Tools
from data.text.traces import Message, calls_of, check_calls, tools_of
from data.text.values import whole

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""Role in the data → role in a template, as at the endpoint."""


class BadRow(ValueError):
    """A row that cannot be learnt from. `reason` is one word of stats.json."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ChatConfig(BaseModel):
    """Where a row has its messages: one of three forms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: str | None = Field(
        default=None,
        description="field with a list of {role, content}, where neither of the other forms is named: messages",
    )
    prompt: str | None = Field(default=None, description="field with what is asked: a text, or a list of messages")
    completion: str | None = Field(default=None, description="field with the answer to `prompt`: a text, or messages")
    system: str | None = Field(default=None, description="template of a system message, such as: Answer in {language}.")
    user: str | None = Field(default=None, description='template of what is asked: "{instruction}\\n{input}"')
    assistant: str | None = Field(default=None, description='template of the answer: "{output}"')
    strip: bool = Field(default=True, description="take white space from around the text of each message")

    @field_validator("system", "user", "assistant")
    @classmethod
    def _template(cls, template: str | None) -> str | None:
        if template is not None:
            try:
                parts = list(string.Formatter().parse(template))
            except ValueError as error:
                raise ValueError(f"no template: {error}; a brace that is text is written twice") from None
            for _, name, layout, conversion in parts:
                if name is not None and (layout or conversion or not name or not name.replace(" ", "_").isidentifier()):
                    raise ValueError(f"{{{name}}} is no field's name alone; a brace that is text is written twice")
        return template

    @model_validator(mode="after")
    def _one_form(self) -> "ChatConfig":
        forms = {
            "messages": self.messages is not None,
            "prompt and completion": self.prompt is not None or self.completion is not None,
            "user and assistant": self.user is not None or self.assistant is not None,
        }
        named = [form for form, there in forms.items() if there]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are different forms of rows: name one")
        if (self.prompt is None) != (self.completion is None):
            raise ValueError("prompt and completion go together")
        if (self.user is None) != (self.assistant is None):
            raise ValueError("user and assistant go together")
        if self.system is not None and self.user is None:
            raise ValueError("system is a template beside user and assistant")
        return self


def of_row(row: Mapping[str, Any], config: ChatConfig) -> list[Message]:
    """Messages {role, content} that end with an answer; `weight` and `tool_calls` where an answer has them. Raises
    BadRow."""
    if config.user is not None and config.assistant is not None:
        given = [
            {"role": role, "content": _filled(template, row)}
            for role, template in (("system", config.system), ("user", config.user), ("assistant", config.assistant))
            if template is not None
        ]
        given = [message for message in given if message["role"] != "system" or message["content"].strip()]
    elif config.prompt is not None and config.completion is not None:
        given = [*_part(row, config.prompt, "user"), *_part(row, config.completion, "assistant")]
    else:
        name = config.messages or "messages"
        given = _list(_value(row, name), name)
    messages = [_message(message, number, config.strip) for number, message in enumerate(given, 1)]
    _check_order(messages)
    return messages


def tools_of_row(row: Mapping[str, Any], chats: list[list[Message]], name: str) -> Tools:
    """The tools in a row's field `name`, all that its chats call among them. Raises BadRow."""
    try:
        tools = tools_of(row.get(name))
    except ValueError as error:
        raise BadRow("bad_tools", str(error)) from None
    try:
        for messages in chats:
            check_calls(messages, tools)
    except ValueError as error:
        raise BadRow("bad_call", str(error)) from None
    return tools


def fields_of(config: ChatConfig) -> list[str]:
    """Names of the fields in a form's templates, of which a row may lack some."""
    templates = (config.system, config.user, config.assistant)
    return [name for template in templates if template for _, name, _, _ in string.Formatter().parse(template) if name]


def _value(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise BadRow("no_field", f"no field {name!r}, only {', '.join(map(str, list(row)[:5])) or 'nothing'}")
    return row[name]


def _filled(template: str, row: Mapping[str, Any]) -> str:
    """The template with the row's values; null is nothing, and so is a field that this row has not, unless it has none
    of the template's."""
    pieces = list(string.Formatter().parse(template))
    names = [name for _, name, _, _ in pieces if name is not None]
    if names and not any(name in row for name in names):
        _value(row, names[0])
    parts = []
    for text, name, _, _ in pieces:
        parts.append(text)
        if name is not None:
            value = row.get(name)
            if isinstance(value, list | dict | bytes):
                raise BadRow("not_text", f"{name!r} is not text but {type(value).__name__}")
            parts.append("" if value is None else str(value))
    return "".join(parts)


def _part(row: Mapping[str, Any], name: str, role: str) -> list[Any]:
    value = _value(row, name)
    return [{"role": role, "content": value}] if value is None or isinstance(value, str) else _list(value, name)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRow("not_text", f"{name!r} is no list of messages but {type(value).__name__}")
    return value


def _message(given: Any, number: int, strip: bool) -> Message:
    if not isinstance(given, Mapping) or "role" not in given:
        raise BadRow("unknown_role", f"message {number} has no role")
    role = ROLES.get(given["role"]) if isinstance(given["role"], str) else None
    if role is None:
        raise BadRow("unknown_role", f"message {number} is of role {given['role']!r}, not {', '.join(ROLES)}")
    content = given.get("content")
    if isinstance(content, list) and (texts := [_text_part(part) for part in content]) and None not in texts:
        content = "".join(filter(None, texts))
    if not (content is None or isinstance(content, str)):
        raise BadRow("not_text", f"the content of message {number} is not text but {type(content).__name__}")
    try:
        text = whole(content or "")
    except ValueError as error:
        raise BadRow("not_text", f"the content of message {number} {error}") from None
    text = text.strip() if strip else text
    calls = _calls(given, role, number)
    if not text.strip() and not calls and role not in ("system", "tool"):
        reason = "empty_answer" if role == "assistant" else "empty_message"
        raise BadRow(reason, f"message {number} of role {role} is empty")
    message: Message = {"role": role, "content": text} | ({"tool_calls": calls} if calls else {})
    if role == "tool" and isinstance(given.get("tool_call_id"), str):
        message["tool_call_id"] = given["tool_call_id"]
    if role == "assistant" and given.get("weight") is not None:
        if given["weight"] not in (0, 1):
            raise BadRow("bad_weight", f"the weight of message {number} is {given['weight']!r}, neither 0 nor 1")
        message["weight"] = int(given["weight"])
    return message


def _calls(given: Mapping[str, Any], role: str, number: int) -> list[dict[str, Any]]:
    if not given.get("tool_calls"):
        return []
    if role != "assistant":
        raise BadRow("bad_call", f"message {number} of role {role} calls tools")
    try:
        return calls_of(given["tool_calls"])
    except ValueError as error:
        raise BadRow("bad_call", f"message {number}: {error}") from None


def _text_part(part: Any) -> str | None:
    """The text of a part of a content, as OpenAI's API has them; None for another kind."""
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    return text if isinstance(text, str) else None


def _check_order(messages: list[Message]) -> None:
    """Raise BadRow unless it is: perhaps a system message, then user and assistant in turns, an answer last.

    After an answer with calls come as many results, and then an answer again.
    """
    results = 0
    expected: tuple[str, ...] = ("system", "user")
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role not in expected:
            raise BadRow("wrong_order", f"message {number} is of role {role}, where {expected[-1]} would follow")
        results = len(message.get("tool_calls", ())) if role == "assistant" else results - (role == "tool")
        follows = {"system": "user", "user": "assistant", "tool": "assistant", "assistant": "user"}[role]
        expected = ("tool",) if results > 0 else (follows,)
    if not messages or messages[-1]["role"] != "assistant":
        raise BadRow("no_answer", "it ends before an answer")
