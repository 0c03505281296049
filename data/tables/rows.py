"""Rows out of raw files: .csv, .tsv, .jsonl, .parquet and lines of a pattern, plain or .gz, streamed in order.

A row is {column: text, number, truth value or None}; what the columns mean is data/tables/columns.py's. Memory holds
one row (of .parquet some hundreds) at a time. The first bad row ends the reading with its file and line.
"""

import csv
import fnmatch
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from base.errors import MetrolineError
from data.fetch.fetched import File
from data.tables.config import RowsConfig, suffixes_of
from data.values import Value, from_json

COLUMNS = 10_000
"""Most columns of a row."""
LINE = 16 << 20
"""Most characters of a line, and of a value between quotes."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its place, `file:line` (of .parquet: the row's number), from 1."""

    id: str
    values: dict[str, Value]


def read_rows(files: Mapping[str, File], config: RowsConfig) -> Iterator[Row]:
    """All rows of the files (name → path) that match `config.files`, by name. Raises MetrolineError, which names file
    and line: no such file, another encoding, a row too short or long, no JSON, a value that is no scalar.
    """
    suffixes = suffixes_of(config)
    wanted = sorted(
        name for name in files if fnmatch.fnmatchcase(name, config.files) and name.lower().endswith(suffixes)
    )
    if not wanted:
        first = ", ".join(sorted(files)[:3])
        ends = f" and is {', '.join(suffixes)}" if config.form == "auto" else ""
        say = "; if one is a table, say what it is: form: csv, tsv, jsonl, parquet, lines" if ends and files else ""
        raise MetrolineError(
            f"no fetched file matches {config.files!r}{ends}", hint=f"there are: {first or 'none'}{say}"
        )
    missing = {"", *config.missing}
    for name in wanted:
        for place, values in _read(name, files[name], config):
            yield Row(f"{name}:{place}", {key: None if value in missing else value for key, value in values.items()})


def _read(name: str, path: File, config: RowsConfig) -> Iterator[tuple[int, dict[str, Value]]]:
    form = config.form
    if form == "auto":
        form = Path(name.lower().removesuffix(".gz")).suffix.removeprefix(".")  # type: ignore[assignment]
    if form == "parquet":
        yield from _parquet(name, path)
        return
    last = 0
    try:
        with _text(path, config.encoding) as lines:
            reader = {"jsonl": _objects, "lines": _matches}.get(form, _separated)
            for last, values in reader(name, lines, config, "\t" if form == "tsv" else ","):
                yield last, values
    except UnicodeDecodeError as error:
        raise MetrolineError(
            f"{name}: after line {last:,}: not {config.encoding} (byte 0x{error.object[error.start]:02x})",
            hint="name the right encoding, such as latin-1: data.rows.encoding, or --encoding of init",
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MetrolineError(f"{name}: damaged .gz file: {error}", hint="fetch again") from None
    except FileNotFoundError:
        raise MetrolineError(f"{path} is missing", hint="fetch again") from None


@contextmanager
def _text(path: File, encoding: str) -> Iterator[Iterator[str]]:
    """The lines of a file with their line ends, unpacked where it begins as gzip does."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        binary: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        sig = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        with io.TextIOWrapper(binary, encoding=sig, newline="") as file:
            yield _lines(file)


def _lines(file: io.TextIOWrapper) -> Iterator[str]:
    while line := file.readline(LINE + 1):
        if len(line) > LINE:
            raise csv.Error(f"a line of more than {LINE:,} characters")
        yield line


def _separated(
    name: str, lines: Iterator[str], config: RowsConfig, usual: str
) -> Iterator[tuple[int, dict[str, Value]]]:
    """Rows of a .csv or .tsv file. A quoted value may hold delimiters, quotes ("") and newlines."""
    csv.field_size_limit(LINE)
    delimiter = config.delimiter or usual
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if config.quotes else csv.QUOTE_NONE,
        skipinitialspace=config.trim,
        strict=config.quotes,
    )
    columns, start = config.columns, 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if config.trim:
                cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not columns:
                columns = _named(f"{name}:{line}", cells)
                continue
            if len(cells) > len(columns) and config.longer_rows == "cut":
                cells = cells[: len(columns)]
            if len(cells) != len(columns):
                raise MetrolineError(
                    f"{name}:{line}: {len(cells):,} values for {len(columns):,} columns",
                    hint="check delimiter, quotes, columns and longer_rows",
                )
            yield line, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise MetrolineError(
            f"{name}:{start}: {error}", hint='a quote that is part of a value is written ""; or set quotes: false'
        ) from None


def _named(place: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the first line, checked."""
    names = [name.strip() for name in names]
    if len(names) > COLUMNS:
        raise MetrolineError(f"{place}: {len(names):,} columns, more than {COLUMNS:,}")
    for number, name in enumerate(names, 1):
        if not name:
            raise MetrolineError(f"{place}: column {number} has no name", hint="name all of them in columns")
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise MetrolineError(f"{place}: two columns are called {twice!r}", hint="no line of names? give columns")
    return tuple(names)


def _objects(name: str, lines: Iterator[str], config: RowsConfig, _: str) -> Iterator[tuple[int, dict[str, Value]]]:
    """Rows of a .jsonl file, an object a line."""
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _scalars(f"{name}:{number}", _object(f"{name}:{number}", line))
    except csv.Error as error:
        raise MetrolineError(f"{name}: {error}") from None


def _object(place: str, line: str) -> dict[str, Any]:
    try:
        row = from_json(line)
    except MetrolineError as error:
        raise MetrolineError(f"{place}: {error}") from None
    if not isinstance(row, dict):
        raise MetrolineError(f"{place}: not an object but {type(row).__name__}")
    return row


def _matches(name: str, lines: Iterator[str], config: RowsConfig, _: str) -> Iterator[tuple[int, dict[str, Value]]]:
    """Rows of a file of lines, each the named groups of the pattern."""
    pattern = re.compile(config.pattern or "")
    try:
        for number, line in enumerate(lines, 1):
            if not (line := line.rstrip("\r\n")):
                continue
            if not (match := pattern.fullmatch(line)):
                shown = line if len(line) <= 60 else line[:57] + "..."
                raise MetrolineError(f"{name}:{number}: pattern does not match {shown!r}", hint="mend one of the two")
            yield number, dict(match.groupdict())
    except csv.Error as error:
        raise MetrolineError(f"{name}: {error}") from None


def _parquet(name: str, path: File) -> Iterator[tuple[int, dict[str, Value]]]:
    """Rows of a .parquet file, by row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with path.open("rb") as file, pq.ParquetFile(file, pre_buffer=False) as table:
            _named(name, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=512):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _scalars(f"{name}:{number}", row)
    except FileNotFoundError:
        raise MetrolineError(f"{path} is missing", hint="fetch again") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise MetrolineError(f"{name}: cannot read it as Parquet: {' '.join(str(error).split())}") from None


def _scalars(place: str, row: Mapping[str, Any]) -> dict[str, Value]:
    """Values that JSON can hold: dates and decimals as text, NaN as missing."""
    if len(row) > COLUMNS:
        raise MetrolineError(f"{place}: {len(row):,} columns, more than {COLUMNS:,}")
    plain: dict[str, Value] = {}
    for name, value in row.items():
        if isinstance(value, list | dict | bytes):
            raise MetrolineError(f"{place}: {name} is no single value but {type(value).__name__}")
        if isinstance(value, float) and math.isnan(value):
            value = None
        plain[name] = value if value is None or isinstance(value, str | int | float | bool) else str(value)
    return plain
