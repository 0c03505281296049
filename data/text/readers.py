"""Readers of text files, packed or not: a stream of pieces, each a text or a problem with the place where it is.

A reader raises MetrolineError only for what spoils the whole file (damaged, packed again and again). What becomes of a
piece with a problem is data/text/documents.py's to decide. Parquet has a reader of its own, data/text/parquet.py.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.fetch.compressed import open_text
from data.fetch.names import one_line
from data.text.values import Value, plain, whole

CHUNK = 1 << 20  # bytes of a .txt file read at once
MEND = "mend the file"
OTHERS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
          codecs.BOM_UTF16_BE: "UTF-16"}  # fmt: skip
"""What a file's first bytes say when it is in another encoding; the longer ones first."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A document's text, or (`problem`) why there is none and (`remedy`) what helps.

    `place` (`:12`, or nothing) is its place in the file.
    """

    place: str
    text: str = ""
    fields: dict[str, Value] = field(default_factory=dict)
    problem: str = ""
    remedy: str = MEND


def read_text(path: Path, separator: str | None) -> Iterator[Piece]:
    """Documents of a UTF-8 text file: the whole of it, or what stands between separators (blank pieces are none).

    A newline in the separator also stands for CRLF. `place` counts the pieces that are documents, from 1.
    """
    with open_text(path) as file:
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
        problem = f"invalid UTF-8 at byte {start + error.start:,} (0x{data[error.start]:02x})"
        return Piece(place, problem=problem, remedy=_conversion(data) if start == 0 else MEND)
    return Piece(place, text.removeprefix("\ufeff") if start == 0 else text)


def _conversion(data: bytes) -> str:
    """What helps when a file that is not UTF-8 begins so."""
    name = next((name for mark, name in OTHERS.items() if data.startswith(mark)), None)
    return f"it is {name}: convert it with iconv -f {name} -t UTF-8" if name else MEND


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
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.removeprefix(codecs.BOM_UTF8).strip():
                yield _object(f":{number}", line, text_field, meta_fields)


class NoObject(ValueError):
    """A line that holds no object; `remedy` says what helps."""

    def __init__(self, problem: str, remedy: str = MEND) -> None:
        super().__init__(problem)
        self.remedy = remedy


def object_of(line: bytes) -> dict[str, Any]:
    """The object of a line of .jsonl. Raises NoObject."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problem = f"invalid UTF-8 at byte {error.start:,} of the line (0x{line[error.start]:02x})"
        raise NoObject(problem, _conversion(line)) from None
    except (ValueError, RecursionError) as error:
        raise NoObject(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise NoObject(f"not an object but {type(row).__name__}")
    return row


def _object(place: str, line: bytes, text_field: str, meta_fields: Sequence[str]) -> Piece:
    try:
        row = object_of(line)
    except NoObject as error:
        return Piece(place, problem=str(error), remedy=error.remedy)
    if text_field not in row:
        there = ", ".join(one_line(key)[:60] for key in list(row)[:5]) or "nothing"
        return Piece(
            place, problem=f"no field {text_field!r}, only {there}", remedy="name the right one in documents.text_field"
        )
    return from_row(place, row, text_field, [name for name in meta_fields if name in row], lambda value: value)


def from_row(place: str, row: Any, text_field: str, meta_fields: Sequence[str], python: Callable[[Any], Any]) -> Piece:
    """The piece of a row; `python` gives a field's Python value. A problem names the field that has it."""
    name = text_field
    try:
        text = python(row[name])
        if text is None:
            return Piece(place, problem=f"{name!r} is null")
        if not isinstance(text, str):
            return Piece(place, problem=f"{name!r} is not text but {type(text).__name__}")
        whole(text)
        fields = {}
        for name in meta_fields:
            fields[name] = plain(python(row[name]))
    except ValueError as error:
        return Piece(place, problem=f"{name!r} {error}")
    return Piece(place, text, fields)
