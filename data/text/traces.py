"""Calls of tools in the rows of chats: definitions, calls and results, checked as the endpoint checks them.

Functions raise ValueError with the reason; which word stats.json has for it is data/text/messages.py's.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from data.text.tools import Tool, Tools, arguments_of, check_names
from data.text.values import whole

Message = dict[str, Any]


def tools_of(value: Any) -> Tools:
    """Definitions as templates are shown them, out of a list, or its JSON text as Parquet files have it; None: none.

    A function alone ({name, description, parameters}) is taken too.
    """
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"tools are a list, not {type(value).__name__}")
    wrapped = [
        {"type": "function", "function": tool} if isinstance(tool, Mapping) and "function" not in tool else tool
        for tool in value
    ]
    try:
        tools = [Tool.model_validate(_without_nulls(tool)) for tool in wrapped]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"a tool's {'.'.join(map(str, first['loc'])) or 'definition'}: {first['msg']}") from None
    check_names(tools)
    return [tool.shown() for tool in tools]


def _without_nulls(value: Any) -> Any:
    """Parquet gives every object all fields that any of its column has."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def calls_of(value: Any) -> list[dict[str, Any]]:
    """The calls of an answer, with their arguments as JSON text."""
    if not isinstance(value, list):
        raise ValueError(f"tool_calls are a list, not {type(value).__name__}")
    calls = []
    for call in value:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError('a call is {"function": {"name": ..., "arguments": ...}}')
        given = function.get("arguments")
        if not (given is None or isinstance(given, str | dict)):
            raise ValueError(f"the arguments of {function['name']} are neither JSON text nor an object")
        try:
            arguments = whole(str(arguments_of(given)))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the arguments of {function['name']}: {error}") from None
        identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        calls.append({**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}})
    return calls


def check_calls(messages: Sequence[Message], tools: Tools) -> None:
    """All that is called is there."""
    names = {tool["function"]["name"] for tool in tools}
    for number, message in enumerate(messages, 1):
        for call in message.get("tool_calls", ()):
            if (name := call["function"]["name"]) not in names:
                raise ValueError(f"message {number} calls {name!r}, which is not among the row's tools")


def as_read(message: Message) -> Message:
    """A message as templates read it, of one that was kept as JSON."""
    shown: Message = {name: message[name] for name in ("role", "content", "tool_call_id") if name in message}
    if calls := message.get("tool_calls"):
        shown["tool_calls"] = [
            {**call, "function": call["function"] | {"arguments": arguments_of(call["function"]["arguments"])}}
            for call in calls
        ]
    return shown


def said(message: Message) -> str:
    """All that a message says: its text and its calls."""
    calls = message.get("tool_calls")
    return message["content"] + (json.dumps([call["function"] for call in calls], ensure_ascii=False) if calls else "")
