"""Calls of tools in a chat's history, as chat templates want them.

OpenAI's API carries a call's arguments as JSON text. Most templates look into them as an object, others print the text;
`Arguments` is both. It runs no tool.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.text.tools import Arguments, arguments_of
from serving.routes.schema import DEEPEST, check_text, deeper_than, load, texts


class Function(BaseModel):
    """What is called. Fields beyond OpenAI's, such as `parsed_arguments` of its client's helpers, are left out."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str
    arguments: Any = Field(default="", description="JSON text, or an object")

    @field_validator("arguments", mode="before")
    @classmethod
    def _arguments(cls, given: object) -> object:
        """Text that is no JSON object stays text, since a model may have written it; none at all is an empty object."""
        if given is None or isinstance(given, dict) or (isinstance(given, str) and not given.strip()):
            return arguments_of(given)
        if not isinstance(given, str):
            raise ValueError("must be JSON text or an object")
        try:
            values = load(given)
        except (ValueError, RecursionError):
            return given
        if not isinstance(values, dict) or deeper_than(values, DEEPEST):
            return given
        for text in texts(values):  # what was written with escapes
            check_text(text)
        return Arguments(values, given)


class ToolCall(BaseModel):
    """One call. Fields beyond OpenAI's, such as a stream's `index`, are left out."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | None = None
    type: Literal["function"] = "function"
    function: Function

    def plain(self) -> dict[str, Any]:
        """As templates read it."""
        function = {"name": self.function.name, "arguments": self.function.arguments}
        return {**({"id": self.id} if self.id else {}), "type": self.type, "function": function}
