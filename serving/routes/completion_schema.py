"""OpenAI's completions: the request's own fields, and its answers built, whole or in chunks.

Source: https://platform.openai.com/docs/api-reference/completions. Log-probabilities are those of the model itself,
before temperature and penalties.
"""

import time
from typing import Annotated, Any

from pydantic import Field, field_validator

from serving.engines.decode.sequence import TokenEvent
from serving.engines.decode.text import Vocabulary, show
from serving.routes.schema import MOST, GenerationRequest, check_text

MOST_LOGPROBS = 5

_WHAT_A_PROMPT_IS = "must be a string, a list of strings, a list of token ids, or a list of such lists"

Prompt = list[str] | list[list[int]]


class CompletionRequest(GenerationRequest):
    """Body of POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=None, ge=0, le=MOST, description="default 16")
    best_of: int | None = Field(default=None, ge=1, le=MOST, description="only as many as n")
    logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    echo: bool | None = None
    suffix: Annotated[str | None, Field(max_length=0)] = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompt(cls, prompt: object) -> object:
        return _check_prompt(prompt)

    @property
    def prompts(self) -> Prompt:
        """The prompts as a list, each as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt


def _check_prompt(prompt: object) -> object:
    """Raise ValueError with a plain reason for what is no prompt."""
    entries = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(entries, list):
        raise ValueError(_WHAT_A_PROMPT_IS)
    if not entries or "" in entries or [] in entries:
        raise ValueError("is empty; give it at least one character or token")
    kinds = {type(entry) for entry in entries}
    tokens = [token for entry in entries for token in entry] if kinds == {list} else []
    if kinds not in ({str}, {int}, {list}) or any(type(token) is not int for token in tokens):
        raise ValueError(_WHAT_A_PROMPT_IS)
    for text in entries if kinds == {str} else ():
        check_text(text)
    return prompt


class CompletionAnswer:
    """Builds the answer, whole or in chunks, from a request's events."""

    def __init__(self, identity: str, model: str, version: str, vocabulary: Vocabulary, *, logprobs: bool) -> None:
        self._head = {
            "id": identity,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"fp_{version}",
        }
        self._logprobs, self._vocabulary = logprobs, vocabulary
        self._offsets: dict[int, int] = {}

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """Chunks before the first text: none."""
        return []

    def chunk(self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None) -> dict[str, Any]:
        """One chunk of a stream."""
        return {**self._head, "choices": [self.choice(choice, text, events, reason)]}

    steady = True

    def chunks(
        self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None
    ) -> list[dict[str, Any]]:
        """The chunks of a stream that a text makes."""
        return [self.chunk(choice, text, events, reason)]

    def choice(self, choice: int, text: str, events: list[TokenEvent], reason: str | None) -> dict[str, Any]:
        """One entry of a whole answer, below `choices`."""
        return {"index": choice, "text": text, "logprobs": self._shown(choice, events), "finish_reason": reason}

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """The whole answer; without choices, the last chunk of a stream that asked for usage."""
        return {**self._head, "choices": choices, "usage": usage}

    def last(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last chunk of a stream that asked for usage."""
        return self.whole([], usage)

    def _shown(self, choice: int, events: list[TokenEvent]) -> dict[str, Any] | None:
        """OpenAI's `logprobs` object for these tokens. Offsets count characters from the start of the choice's text."""
        if not self._logprobs:
            return None
        offsets = []
        for event in events:
            offsets.append(self._offsets.get(choice, 0))
            # A byte that begins a character counts; those that continue one do not.
            self._offsets[choice] = offsets[-1] + sum(byte & 0xC0 != 0x80 for byte in event.raw)
        return {
            "tokens": [show(event.raw) for event in events],
            "token_logprobs": [event.logprob for event in events],
            "top_logprobs": [None if event.logprob is None else self._likeliest(event) for event in events],
            "text_offset": offsets,
        }

    def _likeliest(self, event: TokenEvent) -> dict[str, float]:
        """By text; of two tokens with the same one, the likelier (a byte token may write what another does)."""
        found: dict[str, float] = {}
        for raw, logprob in event.likeliest(self._vocabulary):
            found.setdefault(show(raw), logprob)
        return found
