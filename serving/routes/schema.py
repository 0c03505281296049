"""What the requests for text have in common: OpenAI's fields checked to the last one, errors that name the field.

Beyond OpenAI's schema: `top_k`, `min_p`, `repetition_penalty`, `ignore_eos`, `timeout` and the response format `regex`
(sent through `extra_body` by OpenAI's client). What is a prompt, and what an answer looks like, is in
completion_schema.py and chat_schema.py. It tokenizes nothing and knows no HTTP.
"""

import difflib
import json
from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from serving.engines.decode.grammar import Grammar
from serving.engines.decode.sampling import SamplingParameters
from serving.engines.decode.text import CONTROL, SURROGATE
from serving.http.errors import ApiError, invalid

MOST_STOPS = 4
LONGEST_STOP = 256
MOST_BIASES = 1024
MOST = (1 << 31) - 1
"""Of any count; what is allowed of it is the server's and the bundle's to say."""
DEEPEST = 64
"""Levels of lists and objects in a body. What reads it later (templates, grammars) goes down by recursion."""

STRICT = ConfigDict(extra="forbid", strict=True)


class StreamOptions(BaseModel):
    """`stream_options` of a request."""

    model_config = STRICT

    include_usage: bool = False
    include_obfuscation: bool = False  # clients may send it; padding against traffic analysis is not done here


class JsonSchema(BaseModel):
    """`response_format.json_schema`."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """`response_format`: free text, any JSON object, JSON by a schema, or text that matches a regular expression."""

    model_config = STRICT

    type: Literal["text", "json_object", "json_schema", "regex"]
    json_schema: JsonSchema | None = None
    regex: Annotated[str | None, Field(min_length=1, max_length=4096)] = None

    def grammar(self) -> Grammar | None:
        """What the engine holds a completion to. Raises ApiError 400 when the type's own field is missing."""
        if self.type == "json_object":
            return Grammar("json")
        if self.type == "json_schema":
            if self.json_schema is None:
                raise invalid("response_format.json_schema is required for type json_schema", "response_format")
            return Grammar("json_schema", json.dumps(self.json_schema.schema_))
        if self.type == "regex":
            if self.regex is None:
                raise invalid("response_format.regex is required for type regex", "response_format")
            return Grammar("regex", self.regex)
        return None


class GenerationRequest(BaseModel):
    """The fields that completions and chat share. Types are strict: `"5"` is no number."""

    model_config = STRICT

    model: str | None = Field(
        default=None, description="NAME, NAME:VERSION or BASE:ADAPTER; default: the first that is served"
    )
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, description="default 1")
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False, description="default 1")
    top_k: int | None = Field(default=None, ge=0, le=MOST, description="0 or absent: no limit")
    min_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False, description="default 0: off")
    n: int | None = Field(default=None, ge=1, le=MOST, description="default 1")
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    repetition_penalty: float | None = Field(
        default=None, ge=0.1, le=10, allow_inf_nan=False, description="default 1: off"
    )
    logit_bias: dict[str, float] | None = Field(default=None, description="token id → from -100 to 100")
    response_format: ResponseFormat | None = None
    ignore_eos: bool | None = None
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False,
        description="seconds, waiting included, after which it is stopped with 504; at most the server's own",
    )  # fmt: skip
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

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

    @field_validator("logit_bias")
    @classmethod
    def _bias(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        if bias is not None and len(bias) > MOST_BIASES:
            raise ValueError(f"at most {MOST_BIASES} tokens, not {len(bias)}")
        for token, value in (bias or {}).items():
            if not (token.isascii() and token.isdecimal() and len(token) < 10 and -100 <= value <= 100):
                raise ValueError('maps token ids, such as "50", to numbers from -100 to 100')
        return bias

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
            min_p=self.min_p or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            logit_bias=tuple(sorted((int(token), value) for token, value in (self.logit_bias or {}).items())),
        )

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


def check_text(text: str) -> None:
    """Raise ValueError for text that no UTF-8 file could hold, or that has control characters."""
    if match := SURROGATE.search(text):
        raise ValueError(f"has half a character (lone surrogate U+{ord(match[0]):04X}) at position {match.start()}")
    if match := CONTROL.search(text):
        raise ValueError(f"has a control character (U+{ord(match[0]):04X}) at position {match.start()}")


def texts(value: object) -> list[str]:
    """All strings inside of something whose depth is bounded, names of fields too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, inner in value.items() for each in (key, inner) for text in texts(each)]
    return [text for inner in value for text in texts(inner)] if isinstance(value, list) else []


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Which of two values of one name counts, others between client and server may see differently."""
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the name {twice[:100]!r} is there twice")
    return made


def load(text: bytes | str) -> Any:
    """JSON that means one thing. Raises ValueError, RecursionError."""
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)


Parsed = TypeVar("Parsed", bound=BaseModel)


def parse(body: bytes, schema: type[Parsed]) -> Parsed:
    """Read and check a request's body. Raises ApiError 400 that names the field."""
    try:
        values = load(body)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid(f"We could not parse the JSON body of your request: {detail[:200]}") from None
    if not isinstance(values, dict):
        raise invalid(f"The body must be a JSON object, not {type(values).__name__}.")
    if deeper_than(values, DEEPEST):
        raise invalid(f"The body is nested too deeply: more than {DEEPEST} levels.")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _explain(error, schema) from None


def deeper_than(value: object, levels: int) -> bool:
    """Whether lists and objects lie in each other more than so many times. Without recursion."""
    layer = [value]
    for _ in range(levels):
        inner = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list)]
        layer = [entry for entries in inner for entry in entries if isinstance(entry, dict | list)]
        if not layer:
            return False
    return True


_REASONS = {
    "missing": "is required",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "finite_number": "must be a finite number",
}


def _explain(error: ValidationError, schema: type[BaseModel]) -> ApiError:
    """pydantic's first error as one line; a misspelt name before the lack of what it was meant to be."""
    found = error.errors(include_url=False, include_input=False)
    first = next(
        (each for each in found[:20] if each["type"] == "extra_forbidden" and _nearest(each, schema)), found[0]
    )
    if not first["loc"]:
        raise invalid("The names of arguments must be valid text.", code="unknown_parameter")
    param = str(first["loc"][0])[:100]
    where = ".".join(str(part) for part in first["loc"])[:100]
    if first["type"] == "extra_forbidden":
        near = _nearest(first, schema)
        hint = f" Did you mean {near}?" if near else ""
        return invalid(f"Unrecognized request argument supplied: {where}.{hint}", param, "unknown_parameter")
    if param in ("suffix", "functions", "function_call", "audio", "prediction", "modalities"):
        return invalid(f"{param} is not supported by this server", param, "unsupported_parameter")
    message = first["msg"].removeprefix("Value error, ")
    return invalid(f"{where} {_REASONS.get(first['type'], message[:1].lower() + message[1:])}", param)


def _nearest(unknown: ErrorDetails, schema: type[BaseModel]) -> str:
    """The field whose name is most like that of an unknown one; empty where none is."""
    where = ".".join(str(part) for part in unknown["loc"])[:100]
    return next(iter(difflib.get_close_matches(where, schema.model_fields, n=1)), "")
