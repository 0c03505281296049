"""Documents out of raw files: .txt, .jsonl and .parquet, streamed in reading order.

Reading order is the order of the files' paths, then the order inside a file. Memory holds one document (for .parquet
a few hundred rows) at a time. What is done to the text afterwards is data/clean.py's.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SUFFIXES = (".txt", ".jsonl", ".parquet")
Value = str | int | float | bool | None


class Bin(BaseModel):
    """A coarser value of a number in `meta`: {of: year, width: 10} makes 1862 the decade 1860."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: str = Field(description="the number's name in meta")
    width: int = Field(ge=1, description="numbers in a bin; bins begin at multiples of it")


class DocumentsConfig(BaseModel):
    """How raw files become documents, and what is noted about each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_field: str = Field(default="text", description="field (.jsonl) or column (.parquet) that holds the text")
    meta_fields: tuple[str, ...] = Field(default=(), description="fields or columns noted in a document's meta")
    separator: str | None = Field(
        default=None, min_length=1, description="cuts a .txt file into documents; null: a file is one document"
    )
    meta_pattern: str | None = Field(
        default=None, description="regular expression; its named groups, found in the file's path, go into meta"
    )
    bins: dict[str, Bin] = Field(default={}, description="values of meta made out of others, such as decade from year")
    errors: Literal["stop", "drop"] = Field(
        default="stop", description="what a document that cannot be read does: stop with an error, or be counted"
    )

    @field_validator("meta_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if not compiled.groupindex:
                raise ValueError("has no named group such as (?P<year>[0-9]{4})")
        return pattern

    @model_validator(mode="after")
    def _bins_have_sources(self) -> "DocumentsConfig":
        named = set(re.compile(self.meta_pattern).groupindex) if self.meta_pattern else set()
        for name, entry in self.bins.items():
            if entry.of not in named | set(self.meta_fields):
                raise ValueError(f"bins.{name}: {entry.of} is in neither meta_pattern nor meta_fields")
        return self
