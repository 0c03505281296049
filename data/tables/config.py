"""How files of rows are read: their form, names of columns, what stands for a missing value."""

import codecs
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz")
"""Endings that tell what a file of rows is."""


class RowsConfig(BaseModel):
    """How raw files become rows. Without any key: by suffix, comma or tab, names in the first line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: str = Field(default="*", description="glob over the fetched files' paths; * also crosses folders")
    form: Literal["auto", "csv", "tsv", "jsonl", "parquet", "lines"] = Field(
        default="auto", description="of the files; auto: by their suffix, also before .gz; lines: see `pattern`"
    )
    columns: tuple[str, ...] = Field(
        default=(), description="names for files without a line of names (csv, tsv); empty: it is there"
    )
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, description="null: comma, or tab for tsv")
    quotes: bool = Field(default=True, description='"..." may hold delimiters and newlines (csv, tsv)')
    trim: bool = Field(default=False, description="blanks around a value do not belong to it (csv, tsv)")
    longer_rows: Literal["stop", "cut"] = Field(
        default="stop", description="what a row with more values than there are columns does (csv, tsv)"
    )
    encoding: str = Field(default="utf-8", description="of text files, such as latin-1; a byte order mark is skipped")
    missing: tuple[str, ...] = Field(default=(), description="texts that mean no value, such as ?; an empty one does")
    pattern: str | None = Field(
        default=None, description="for lines: regular expression; its named groups, in a whole line, are the columns"
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"Python knows no encoding {encoding!r}, only such as utf-8, latin-1, cp1252") from None
        return encoding

    @field_validator("columns")
    @classmethod
    def _once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"names {name!r} twice")
        return columns

    @model_validator(mode="after")
    def _lines_have_a_pattern(self) -> "RowsConfig":
        if (self.form == "lines") != (self.pattern is not None):
            raise ValueError("form: lines and pattern need each other")
        if self.pattern is not None:
            try:
                compiled = re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern is not a regular expression: {error}") from None
            if not compiled.groupindex:
                raise ValueError(r"pattern has no named group such as (?P<label>\S+)")
        return self


def suffixes_of(config: RowsConfig) -> tuple[str, ...]:
    """Endings of the files that are read; `("",)`, all of them, where the recipe says what their form is."""
    return SUFFIXES if config.form == "auto" else ("",)
