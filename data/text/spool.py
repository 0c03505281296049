"""Cleaned documents on disk between the two passes of `prepare`, and the split of each.

A spool is a temporary file, one JSON document a line in reading order; it is never part of an output.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from data.split import SplitConfig, by_hash, tail_borders


@dataclass(frozen=True, slots=True)
class Spooled:
    """A cleaned document, or a cut of one, with its split."""

    split: str
    id: str
    text: str
    meta: dict[str, Any]


class Spool:
    """Write documents inside `with`, then read them as often as needed."""

    def __init__(self, path: Path, config: SplitConfig) -> None:
        self.path, self.config = path, config
        self.documents = self.characters = 0

    def __enter__(self) -> "Spool":
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, identity: str, text: str, meta: dict[str, Any]) -> None:
        """Append one document."""
        split = by_hash(text, self.config) if self.config.method == "hash" else ""
        self._file.write(json.dumps([split, identity, text, meta], ensure_ascii=False) + "\n")
        self.documents += 1
        self.characters += len(text)

    def read(self) -> Iterator[Spooled]:
        """All documents in reading order. Under `tail` a corpus of one document is cut in up to three; of several
        documents each goes whole to the split that holds its middle.
        """
        start = 0
        with self.path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                split, identity, text, meta = json.loads(line)
                if self.config.method == "hash":
                    yield Spooled(split, identity, text, meta)
                elif self.documents == 1:
                    yield from self._cut(identity, text, meta)
                else:
                    train, valid = tail_borders(self.characters, self.config)
                    middle = start + len(text) / 2
                    yield Spooled(
                        "test" if middle < train else "train" if middle < valid else "valid", identity, text, meta
                    )
                    start += len(text)

    def _cut(self, identity: str, text: str, meta: dict[str, Any]) -> Iterator[Spooled]:
        train, valid = tail_borders(len(text), self.config)
        for split, begin, end in (("test", 0, train), ("train", train, valid), ("valid", valid, len(text))):
            if begin < end:
                yield Spooled(split, f"{identity}[{begin}:{end}]", text[begin:end], meta)
