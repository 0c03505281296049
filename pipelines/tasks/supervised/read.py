"""Labelled items out of the fetched files: what their input is, what their target, and what makes two of them equal."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.errors import MetrolineError, nearest
from data.fetch.fetched import fetched, fetched_members
from data.folders import read_folders
from data.tables.rows import read_rows
from data.values import Value
from pipelines.tasks.supervised.config import AudioData, ImagesData, TableData, TextData

Data = TableData | ImagesData | AudioData | TextData


@dataclass(frozen=True)
class Item:
    """One example as it was read. `row`: of a table, without the target; else `raw` is the input."""

    id: str
    key: str
    """Equal inputs have equal keys."""
    whole: str
    """Equal rows have equal ones: of a table also what is dropped, since two people may look the same."""
    target: Value
    row: Mapping[str, Value] = field(default_factory=dict)
    raw: bytes = b""
    meta: Mapping[str, Any] = field(default_factory=dict)


def read(raw: Path, data: Data) -> Iterator[Item]:
    """All items, in reading order. Raises MetrolineError with file and row."""
    if isinstance(data, ImagesData | AudioData):
        for example in read_folders(fetched_members(raw), data.folders, data.suffixes):
            content = example.raw()
            key = hashlib.sha256(content).hexdigest()
            yield Item(example.id, key, key, example.label, raw=content, meta=example.meta)
        return
    left_out = {data.target, *(data.drop if isinstance(data, TableData) else ())}
    for row in read_rows(fetched(raw), data.rows):
        needed = [data.target, *([data.text] if isinstance(data, TextData) else data.drop)]
        if absent := [name for name in needed if name not in row.values]:
            raise MetrolineError(f"{row.id}: no column {absent[0]!r}", hint=nearest(absent[0], row.values))
        target = row.values[data.target]
        if isinstance(data, TextData):
            text = str(row.values[data.text] or "")
            yield Item(row.id, text, text, target, raw=text.encode())
        else:
            values = {name: value for name, value in row.values.items() if name not in left_out}
            meta = {name: row.values[name] for name in data.drop}
            key, whole = (json.dumps(each, sort_keys=True, ensure_ascii=False) for each in (values, values | meta))
            yield Item(row.id, key, whole, target, row=values, meta=meta)
