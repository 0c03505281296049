"""OpenAI's embeddings: the request's fields, checked, and the answer built.

Source: https://platform.openai.com/docs/api-reference/embeddings. Beyond it: `input_type` (query or document), which
puts the bundle's prefix before a text.
"""

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, field_validator

from serving.routes.schema import STRICT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_INPUTS = 2048
"""As OpenAI has it."""

_WHAT_AN_INPUT_IS = "must be a string, a list of strings, a list of token ids, or a list of such lists"


class EmbeddingsRequest(BaseModel):
    """Body of POST /v1/embeddings."""

    model_config = STRICT

    input: str | list[str] | list[int] | list[list[int]]
    model: str | None = Field(default=None, description="default: the first model that makes embeddings")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="default float; base64: of little-endian float32"
    )
    dimensions: int | None = Field(default=None, ge=1, description="only those that the model was trained for")
    input_type: Literal["query", "document"] | None = Field(
        default=None, description="puts the model's prefix for it before each text; default: none"
    )
    user: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _input(cls, value: object) -> object:
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list):
            raise ValueError(_WHAT_AN_INPUT_IS)
        if not value:
            raise ValueError("is empty; give it at least one text")
        kinds = {type(entry) for entry in entries}
        tokens = [token for entry in entries for token in entry] if kinds == {list} else []
        if kinds not in ({str}, {int}, {list}) or any(type(token) is not int for token in tokens):
            raise ValueError(_WHAT_AN_INPUT_IS)
        if kinds != {int} and len(entries) > MOST_INPUTS:
            raise ValueError(f"has {len(entries)} entries, and at most {MOST_INPUTS} go into one request")
        for number, entry in enumerate(entries):
            if entry in ("", []):
                raise ValueError(f"is empty at index {number}; leave empty texts out")
        return value

    @property
    def inputs(self) -> list[str | tuple[int, ...]]:
        """One entry for each vector: a text, or its token ids."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [tuple(self.input)]
        return [tuple(each) if isinstance(each, list) else each for each in self.input]


def answer(model: str, vectors: "Sequence[NDArray[np.float32]]", tokens: int, form: str | None) -> bytes:
    """The answer as JSON; `vectors` in the order of the inputs. `tokens`: of all inputs. `form`: the encoding_format.

    Written a vector at a time, so that a thread that writes thousands of them lets others work.
    """
    data = []
    for index, vector in enumerate(vectors):
        made = base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
        data.append(json.dumps({"object": "embedding", "index": index, "embedding": made}, separators=(",", ":")))
    rest = json.dumps({"model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    return f'{{"object": "list", "data": [{",".join(data)}], {rest[1:]}'.encode()
