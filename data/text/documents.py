"""Documents out of raw files: .txt, .jsonl, .ndjson and .parquet, streamed in reading order; packed ones are unpacked.

Reading order is the order of the files' paths, then the order inside a file. Memory holds one document (for .parquet
a few hundred rows) at a time. What is done to the text afterwards is data/text/clean.py's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from base.errors import MetrolineError, printable
from data.fetch.compressed import unpacked_name
from data.fetch.fetched import fetched
from data.fetch.own_files import LINES, SUFFIXES, has_suffix
from data.text.parquet import read_parquet
from data.text.readers import Piece, read_jsonl, read_text
from data.text.values import Value


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


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its name (`file` or `file:number`) and what is noted about it."""

    id: str
    text: str
    meta: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document that cannot be read, and why (only with `errors: drop`)."""

    id: str
    problem: str


def raw_files(raw: Path) -> dict[str, Path]:
    """The fetched files that can hold text (see `fetched`)."""
    return fetched(raw, SUFFIXES)


def read(files: dict[str, Path], config: DocumentsConfig) -> Iterator[Document | Unreadable]:
    """All documents in reading order. With `errors: stop` the first unreadable one raises MetrolineError."""
    pattern = re.compile(config.meta_pattern) if config.meta_pattern else None
    matches = {name: match for name in files if pattern and (match := pattern.search(name))}
    if pattern and not matches:
        first = next(iter(files), "none")
        raise MetrolineError(f"documents.meta_pattern matches no file name, not even {first}")
    for name, path in files.items():
        groups = matches[name].groupdict() if name in matches else {}
        of_file: dict[str, Value] = {
            key: int(value) if value.isdecimal() and value.isascii() else value
            for key, value in groups.items()
            if value is not None
        }
        for piece in _pieces(path, config):
            identity = name + piece.place
            if not piece.problem:
                yield Document(identity, piece.text, _meta({**of_file, **piece.fields}, config))
            elif config.errors == "drop":
                yield Unreadable(identity, printable(piece.problem))
            else:
                raise MetrolineError(
                    f"{identity}: {printable(piece.problem)}",
                    hint=f"{piece.remedy}, or set documents.errors: drop in the recipe",
                )


def _pieces(path: Path, config: DocumentsConfig) -> Iterator[Piece]:
    try:
        if has_suffix(path.name, (".parquet",)):
            yield from read_parquet(path, config.text_field, config.meta_fields)
        elif has_suffix(unpacked_name(path), LINES):
            yield from read_jsonl(path, config.text_field, config.meta_fields)
        else:
            yield from read_text(path, config.separator)
    except OSError as error:
        raise MetrolineError(f"{path}: cannot read it: {error.strerror or error}") from None


def _meta(values: dict[str, Value], config: DocumentsConfig) -> dict[str, Value]:
    """The values, and the bins made from them (a bin whose number is missing is left out)."""
    meta = dict(values)
    for name, entry in config.bins.items():
        number = meta.get(entry.of)
        if isinstance(number, int | float) and not isinstance(number, bool):
            meta[name] = int(number // entry.width * entry.width)
    return meta
