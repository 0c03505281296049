"""Cleaned documents on disk between the two passes of `prepare`, and the split of each.

A spool is a temporary file, one JSON document a line in reading order; it is never part of an output.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
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
        self.documents, self._lengths = 0, array("q")  # characters of each document

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
        self._lengths.append(len(text))

    def read(self) -> Iterator[Spooled]:
        """All documents in reading order. Under `tail` each goes whole to the split that holds its middle; where that
        would leave a split empty, as with a single document, they are cut at the borders.
        """
        start = 0
        tail = self.config.method == "tail"
        cut = tail and self._would_leave_a_split_empty()
        with self.path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                split, identity, text, meta = json.loads(line)
                if cut:
                    yield from self._cut(identity, text, meta, start)
                else:
                    yield Spooled(self._holder(start, len(text)) if tail else split, identity, text, meta)
                start += len(text)

    @cached_property
    def _borders(self) -> dict[str, tuple[int, int]]:
        """Under `tail`: where each split begins and ends, in characters of the corpus."""
        total = sum(self._lengths)
        train, valid = tail_borders(total, self.config)
        return {"test": (0, train), "train": (train, valid), "valid": (valid, total)}

    def _holder(self, start: int, length: int) -> str:
        """The split that holds the middle of a document."""
        middle = start + length / 2
        return next((split for split, (_, end) in self._borders.items() if middle < end), "valid")

    def _would_leave_a_split_empty(self) -> bool:
        starts = accumulate(self._lengths, initial=0)
        filled = {self._holder(start, length) for start, length in zip(starts, self._lengths, strict=False)}
        return any(begin < end and split not in filled for split, (begin, end) in self._borders.items())

    def _cut(self, identity: str, text: str, meta: dict[str, Any], start: int) -> Iterator[Spooled]:
        for split, borders in self._borders.items():
            begin, end = (min(max(border - start, 0), len(text)) for border in borders)
            if begin < end:
                name = f"{identity}[{begin}:{end}]" if end - begin < len(text) else identity
                yield Spooled(split, name, text[begin:end], meta)
