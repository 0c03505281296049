"""Rows out of raw files: objects of .jsonl, .ndjson, .json (a list of them) and .parquet, packed ones unpacked.

A row's values are whatever JSON holds, lists and objects too; what they mean is data/text/messages.py's. Memory holds
one row of .jsonl, some hundreds of .parquet, all of a .json file.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base.errors import MetrolineError
from data.fetch.compressed import COMPRESSED, open_text, unpacked_name
from data.fetch.own_files import LINES, has_suffix
from data.text.readers import NoObject, object_of

WHOLE = ".json"
SUFFIXES = (*LINES, *(kind + packed for kind in LINES for packed in COMPRESSED), WHOLE, ".parquet")
"""What can hold rows."""
Row = dict[str, Any]
ROWS = 256  # of .parquet, read at once


def read_rows(files: dict[str, Path]) -> Iterator[tuple[str, Row | NoObject]]:
    """(`file:line`, row or why there is none), in reading order. Raises MetrolineError for what spoils a whole file."""
    for name, path in files.items():
        try:
            if has_suffix(path.name, (".parquet",)):
                rows = _parquet(path)
            elif has_suffix(unpacked_name(path), LINES):
                rows = _lines(path)
            else:
                rows = _whole(path)
            for number, row in rows:
                yield f"{name}:{number}", row
        except OSError as error:
            raise MetrolineError(f"{path}: cannot read it: {error.strerror or error}") from None


def _lines(path: Path) -> Iterator[tuple[int, Row | NoObject]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.removeprefix(codecs.BOM_UTF8).strip():
                try:
                    yield number, object_of(line)
                except NoObject as problem:
                    yield number, problem


def _whole(path: Path) -> Iterator[tuple[int, Row | NoObject]]:
    try:
        with open_text(path) as file:
            values = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        hint = "it must hold a list of objects; an object a line is .jsonl"
        raise MetrolineError(f"{path}: not JSON: {' '.join(str(error).split())}", hint=hint) from None
    if not isinstance(values, list):
        raise MetrolineError(f"{path}: not a list but {type(values).__name__}", hint="it must hold a list of objects")
    for number, row in enumerate(values, 1):
        yield number, row if isinstance(row, dict) else NoObject(f"not an object but {type(row).__name__}")


def _parquet(path: Path) -> Iterator[tuple[int, Row | NoObject]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            for batch in table.iter_batches(batch_size=ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        raise MetrolineError(f"{path}: cannot read it as Parquet: {' '.join(str(error).split())}") from None
