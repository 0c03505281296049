"""Tools and calls of them, as OpenAI's API has them: checked, and as chat templates are shown them.

    Tool.model_validate(given).shown()      # a definition
    arguments_of('{"city": "Ulm"}')         # of a call

The same for training and for the endpoint. Source: https://platform.openai.com/docs/guides/function-calling. It calls
no tool.
"""

import json
import re
from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_TOOLS = 128
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
Tools = list[dict[str, Any]]


class Arguments(dict[str, Any]):
    """Of a tool's call: an object to a template that looks into it; its JSON text to one that prints it."""

    def __init__(self, values: dict[str, Any], text: str) -> None:
        super().__init__(values)
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __add__(self, other: str) -> str:
        return self._text + other

    def __radd__(self, other: str) -> str:
        return other + self._text


def arguments_of(given: dict[str, Any] | str | None) -> Arguments:
    """A call's arguments out of JSON text or an object; none at all is an empty object. Raises ValueError."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return Arguments({}, "{}")
    if isinstance(given, dict):
        return Arguments(given, json.dumps(given, ensure_ascii=False))
    values = json.loads(given)
    if not isinstance(values, dict):
        raise ValueError("arguments are a JSON object")
    return Arguments(values, given)


class FunctionDefinition(BaseModel):
    """What a tool is called, what it does, and a JSON schema of its arguments."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = Field(default=None, description="a JSON schema of type object; default: none")
    strict: bool | None = Field(default=None, description="refuse a schema that cannot be followed to the letter")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("is 1 to 64 letters, digits, _ and -")
        return name

    @field_validator("parameters")
    @classmethod
    def _object(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema and schema.get("type", "object") != "object":
            raise ValueError(f"is a JSON schema of type object, not {str(schema['type'])[:100]!r}")
        return schema

    @property
    def schema_of_arguments(self) -> dict[str, Any]:
        """The schema of its arguments; a tool without one takes none."""
        if self.parameters:
            return {"type": "object", **self.parameters}
        return {"type": "object", "properties": {}, "additionalProperties": False}


class Tool(BaseModel):
    """One tool. Only functions are known."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: FunctionDefinition

    def shown(self) -> dict[str, Any]:
        """As templates read it: in one order, without what is not said and what is not the model's business."""
        said = self.function.model_dump(exclude_none=True, exclude={"strict"})
        return {"type": self.type, "function": said}


def check_names(tools: list[Tool]) -> None:
    """Raise ValueError for two tools of one name, which no call could tell apart."""
    counts = Counter(tool.function.name for tool in tools)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise ValueError(f"two tools have the name {twice!r}")
