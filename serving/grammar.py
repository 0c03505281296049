"""Which tokens may come next when an answer must be JSON, follow a JSON schema or match a regular expression."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Grammar:
    """What a completion must look like."""

    kind: Literal["json_schema", "json", "regex"]
    text: str = ""
    """The JSON schema as JSON, or the regular expression; empty for any JSON object."""
