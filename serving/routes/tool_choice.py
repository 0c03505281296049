"""`tool_choice` of a chat: which tools may be, or must be, called."""

from typing import Literal

from pydantic import BaseModel

from data.text.tools import Tool
from serving.routes.schema import STRICT

MODES = ("auto", "none", "required")


class NamedFunction(BaseModel):
    """Which one."""

    model_config = STRICT

    name: str


class NamedTool(BaseModel):
    """The tool that must be called."""

    model_config = STRICT

    type: Literal["function"]
    function: NamedFunction


def check_choice(given: object, tools: list[Tool] | None) -> object:
    """What a request says, once it means something. Raises ValueError, with one line."""
    if given is None or given in ("auto", "none"):
        return given
    if isinstance(given, dict) and given.get("type") == "function":
        function = given.get("function")
        function = function if isinstance(function, dict) else {}
        name = function.get("name")
        if not isinstance(name, str) or given.keys() > {"type", "function"} or function.keys() > {"name"}:
            raise ValueError('needs the tool\'s name: {"type": "function", "function": {"name": ...}}')
        if tools is not None and name not in (names := [tool.function.name for tool in tools]):
            raise ValueError(f"names the tool {name[:100]!r}, which is not among tools: {', '.join(names)[:200]}")
    elif given != "required":
        raise ValueError(
            f'should be {", ".join(map(repr, MODES))} or {{"type": "function", "function": {{"name": ...}}}}'
        )
    if not tools:
        raise ValueError("needs tools: nothing that could be called is there")
    return given
