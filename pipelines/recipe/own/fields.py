"""Names that fields of published sets of chats have."""

from collections.abc import Collection, Mapping
from typing import Any

LISTS = ("messages", "conversation", "conversations", "chat", "turns", "dialogue")
PROMPTS = ("prompt", "question", "query", "user", "instruction")
COMPLETIONS = ("completion", "response", "answer", "output", "assistant")
CONTEXTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
PAIRS = (("chosen", "rejected"), ("preferred", "dispreferred"), ("better", "worse"))
"""The better and the worse of two answers."""


def first(names: Collection[str], row: Mapping[str, Any]) -> str | None:
    """The first of these names that a row has."""
    return next((name for name in names if name in row), None)


def user_template(asked: str, context: str | None) -> str:
    """What is asked, out of two fields."""
    return f"{{{asked}}}" + (f"\n{{{context}}}" if context else "")
