"""OpenAI's completions schema: requests checked to the last field, answers and stream chunks built.

Source: https://platform.openai.com/docs/api-reference/completions. Beyond it: `top_k` and `ignore_eos` (sent through
`extra_body` by OpenAI's client). Log-probabilities are those of the model itself, before temperature and penalties.
It tokenizes nothing and knows no HTTP.
"""

import difflib
import json
import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from serving.errors import ApiError, invalid
from serving.sampling import SamplingParameters
from serving.sequence import TokenEvent
from serving.text import CONTROL, SURROGATE, Vocabulary

MOST_LOGPROBS = 5
MOST_STOPS = 4
LONGEST_STOP = 256

_WHAT_A_PROMPT_IS = "must be a string, a list of strings, a list of token ids, or a list of such lists"

Prompt = list[str] | list[list[int]]


class StreamOptions(BaseModel):
    """`stream_options` of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False  # clients may send it; padding against traffic analysis is not done here


class CompletionRequest(BaseModel):
    """Body of POST /v1/completions. Types are strict: `"5"` is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(default=None, description="default: the model that is served")
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=None, ge=0, description="default 16")
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, description="default 1")
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False, description="default 1")
    top_k: int | None = Field(default=None, ge=0, description="0 or absent: no limit")
    n: int | None = Field(default=None, ge=1, description="default 1")
    best_of: int | None = Field(default=None, ge=1, description="only as many as n")
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    echo: bool | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    logit_bias: Annotated[dict[str, float] | None, Field(max_length=0)] = None
    suffix: Annotated[str | None, Field(max_length=0)] = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompt(cls, prompt: object) -> object:
        return _check_prompt(prompt)

    @field_validator("stop", mode="before")
    @classmethod
    def _stop(cls, stop: object) -> object:
        stops = [stop] if isinstance(stop, str) else stop
        if stops is None:
            return None
        if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
            raise ValueError("must be a string or a list of strings")
        if len(stops) > MOST_STOPS:
            raise ValueError(f"at most {MOST_STOPS} stop strings, not {len(stops)}")
        if not all(stops):
            raise ValueError("a stop string may not be empty")
        if any(len(each) > LONGEST_STOP or SURROGATE.search(each) for each in stops):
            raise ValueError(f"a stop string is valid text of at most {LONGEST_STOP} characters")
        return stops

    @property
    def prompts(self) -> Prompt:
        """The prompts as a list, each as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, each once."""
        return tuple(dict.fromkeys(self.stop or ()))

    @property
    def sampling(self) -> SamplingParameters:
        """How tokens are drawn, with OpenAI's defaults."""
        return SamplingParameters(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=self.top_k or 0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
        )


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


def check_text(text: str) -> None:
    """Raise ValueError for text that no UTF-8 file could hold, or that has control characters."""
    if match := SURROGATE.search(text):
        raise ValueError(f"has half a character (lone surrogate U+{ord(match[0]):04X}) at position {match.start()}")
    if match := CONTROL.search(text):
        raise ValueError(f"has a control character (U+{ord(match[0]):04X}) at position {match.start()}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse(body: bytes) -> CompletionRequest:
    """Read and check a request's body. Raises ApiError 400 that names the field."""
    try:
        values = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid(f"We could not parse the JSON body of your request: {detail[:200]}") from None
    if not isinstance(values, dict):
        raise invalid(f"The body must be a JSON object, not {type(values).__name__}.")
    try:
        return CompletionRequest.model_validate(values)
    except ValidationError as error:
        raise _explain(error) from None


_REASONS = {
    "missing": "is required",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "finite_number": "must be a finite number",
}


def _explain(error: ValidationError) -> ApiError:
    """pydantic's first error as one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    if not first["loc"]:
        raise invalid("The names of arguments must be valid text.", code="unknown_parameter")
    param = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        name = ".".join(str(part) for part in first["loc"])[:100]
        near = difflib.get_close_matches(name, CompletionRequest.model_fields, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return invalid(f"Unrecognized request argument supplied: {name}.{hint}", param[:100], "unknown_parameter")
    if param in ("logit_bias", "suffix"):
        return invalid(f"{param} is not supported by this server", param, "unsupported_parameter")
    message = first["msg"].removeprefix("Value error, ")
    return invalid(f"{param} {_REASONS.get(first['type'], message[:1].lower() + message[1:])}", param)


class Answer:
    """Builds the answer, whole or in chunks, from a request's events."""

    def __init__(
        self, request: CompletionRequest, identity: str, model: str, version: str, vocabulary: Vocabulary
    ) -> None:
        self._head = {
            "id": identity,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"fp_{version}",
        }
        self._logprobs, self._vocabulary = request.logprobs is not None, vocabulary
        self._offsets: dict[int, int] = {}

    def logprobs(self, choice: int, events: list[TokenEvent]) -> dict[str, Any] | None:
        """OpenAI's `logprobs` object for these tokens. Offsets count characters from the start of the choice's text."""
        if not self._logprobs:
            return None
        show = self._vocabulary.show
        offsets = []
        for event in events:
            offsets.append(self._offsets.get(choice, 0))
            # A byte that begins a character counts; those that continue one do not.
            self._offsets[choice] = offsets[-1] + sum(byte & 0xC0 != 0x80 for byte in event.raw)
        return {
            "tokens": [show(event.token) for event in events],
            "token_logprobs": [event.logprob for event in events],
            "top_logprobs": [
                None if event.logprob is None else {show(token): value for token, value in event.top}
                for event in events
            ],
            "text_offset": offsets,
        }

    def chunk(self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None) -> dict[str, Any]:
        """One chunk of a stream; also one entry of a whole answer, below `choices`."""
        entry = {"index": choice, "text": text, "logprobs": self.logprobs(choice, events), "finish_reason": reason}
        return {**self._head, "choices": [entry]}

    def usage(self, tokens_in: int, tokens_out: int, choices: list[Any] | None = None) -> dict[str, Any]:
        """The last chunk of a stream that asked for usage (no choices), or the whole answer."""
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
        return {**self._head, "choices": choices or [], "usage": usage}
