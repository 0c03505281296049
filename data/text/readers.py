"""One reader for each file format: a stream of pieces, each a text or a problem with the place where it is.

A reader raises MetrolineError only for what spoils the whole file (not a Parquet file, no such column). What becomes of
a piece with a problem is data/text/documents.py's to decide.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.errors import MetrolineError

CHUNK = 1 << 20  # bytes of a .txt file read at once
ROWS = 256  # rows of a .parquet file read at once


@dataclass(frozen=True, slots=True)
class Piece:
    """A document's text, or (`problem`) why there is none and (`remedy`) what helps.

    `place` (`:12`, or nothing) is its place in the file.
    """

    place: str
    text: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    remedy: str = "mend the file"


def read_text(path: Path, separator: str | None) -> Iterator[Piece]:
    """Documents of a UTF-8 .txt file: the whole of it, or what stands between separators (blank pieces are none).

    A newline in the separator also stands for CRLF. `place` counts the pieces that are documents, from 1.
    """
    with path.open("rb") as file:
        if separator is None:
            yield _decode("", 0, file.read())
            return
        number = 0
        for start, data in _cut(file, separator):
            if data.strip():
                number += 1
                yield _decode(f":{number}", start, data)


def _decode(place: str, start: int, data: bytes) -> Piece:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Piece(place, problem=f"invalid UTF-8 at byte {start + error.start:,} (0x{data[error.start]:02x})")
    return Piece(place, text.removeprefix("\ufeff") if start == 0 else text)


def _cut(file: Any, separator: str) -> Iterator[tuple[int, bytes]]:
    """Pieces of a binary file between separators, with the byte each begins at. Holds one piece and one chunk.

    Cutting bytes is safe: in UTF-8 no character's bytes occur inside another's.
    """
    newline = b"\r?\n"
    pattern = re.compile(newline.join(re.escape(part) for part in separator.encode().split(b"\n")))
    longest = len(separator.encode()) + separator.count("\n")
    buffer, offset = bytearray(), 0  # `offset`: where the buffer begins in the file
    while chunk := file.read(CHUNK):
        searched = max(len(buffer) - longest, 0)
        buffer += chunk
        done = 0
        for match in pattern.finditer(buffer, searched):
            yield offset + done, bytes(buffer[done : match.start()])
            done = match.end()
        del buffer[:done]
        offset += done
    yield offset, bytes(buffer)


def read_jsonl(path: Path, text_field: str, meta_fields: Sequence[str]) -> Iterator[Piece]:
    """Documents of a .jsonl file: an object a line (blank lines are none). `place` is the line's number, from 1."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _object(f":{number}", line, text_field, meta_fields)


def _object(place: str, line: bytes, text_field: str, meta_fields: Sequence[str]) -> Piece:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Piece(place, problem=f"invalid UTF-8 at byte {error.start:,} of the line (0x{line[error.start]:02x})")
    except (ValueError, RecursionError) as error:
        return Piece(place, problem=f"not JSON: {error}")
    if not isinstance(row, dict):
        return Piece(place, problem=f"not an object but {type(row).__name__}")
    if text_field not in row:
        there = ", ".join(list(row)[:5]) or "nothing"
        return Piece(
            place, problem=f"no field {text_field!r}, only {there}", remedy="name the right one in documents.text_field"
        )
    text = row[text_field]
    if not isinstance(text, str):
        return Piece(place, problem=f"{text_field!r} is not text but {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return Piece(place, problem=f"{text_field!r} has half a surrogate pair at character {error.start:,}")
    return Piece(place, text, {name: row[name] for name in meta_fields if name in row})


def read_parquet(path: Path, text_column: str, meta_columns: Sequence[str]) -> Iterator[Piece]:
    """Documents of a .parquet file, a row each, by row groups. `place` is the row's number, from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            schema = table.schema_arrow
            for column in (text_column, *meta_columns):
                if column not in schema.names:
                    raise MetrolineError(
                        f"{path}: no column {column!r}",
                        hint=f"it has {', '.join(schema.names)}: name the right one in documents",
                    )
            kind = schema.field(text_column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
                raise MetrolineError(f"{path}: column {text_column!r} is not text but {kind}")
            number = 0
            for batch in table.iter_batches(batch_size=ROWS, columns=[text_column, *meta_columns]):
                for row in range(batch.num_rows):
                    number += 1
                    yield _row(f":{number}", batch, row, text_column, meta_columns)
    except (pa.ArrowException, OSError) as error:
        raise MetrolineError(f"{path}: cannot read it as Parquet: {' '.join(str(error).split())}") from None


def _row(place: str, batch: Any, row: int, text_column: str, meta_columns: Sequence[str]) -> Piece:
    try:
        text = batch.column(text_column)[row].as_py()
        fields = {name: batch.column(name)[row].as_py() for name in meta_columns}
    except UnicodeDecodeError as error:
        return Piece(place, problem=f"invalid UTF-8 at byte {error.start:,} of the text")
    if text is None:
        return Piece(place, problem=f"{text_column!r} is null")
    return Piece(place, text, fields)
