"""A document → chunks: ranges of it that an embedder takes at once, cut where the text itself has a cut.

    chunks(document, count, length=200, overlap=32)

A Markdown heading always begins a chunk. Within a section sentences are filled up to `length` tokens; where a paragraph
ends in the second half, the chunk ends there too. The next chunk begins with the last sentences of the one before, of
`overlap` tokens at most. A sentence that is too long is cut between words, a word between characters.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from data.index.documents import Document

HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}|~{3,}).*?(?:^\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")
SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+")
WORD = re.compile(r"\s+")

Count = Callable[[str], int]
"""How many tokens a text has."""


@dataclass(frozen=True)
class Chunk:
    """A range of a document, in characters."""

    start: int
    end: int
    heading: str
    """The headings that it stands below, outermost first: `Install › On Linux`."""


@dataclass(frozen=True)
class _Unit:
    start: int
    end: int
    tokens: int
    closes: bool
    """A paragraph ends with it."""


def chunks(document: Document, count: Count, *, length: int, overlap: int) -> list[Chunk]:
    """The chunks of a document, in order; all of its text but white space is in one at least."""
    found = []
    for start, end, heading in _sections(document):
        units = list(_units(document.text, start, end, count, length))
        found += [Chunk(first, last, heading) for first, last in _filled(units, length, overlap)]
    return found


def _sections(document: Document) -> Iterator[tuple[int, int, str]]:
    text = document.text
    above: list[tuple[int, str]] = []
    begin, heading = 0, ""
    if document.markdown:
        code = [match.span() for match in FENCE.finditer(text)]
        for match in HEADING.finditer(text):
            if any(first <= match.start() < last for first, last in code):
                continue
            if text[begin : match.start()].strip():
                yield begin, match.start(), heading
            level = len(match[1])
            above = [each for each in above if each[0] < level] + [(level, match[2])]
            begin, heading = match.start(), " › ".join(name for _, name in above)
    if text[begin:].strip():
        yield begin, len(text), heading


def _units(text: str, start: int, end: int, count: Count, length: int) -> Iterator[_Unit]:
    """Sentences, without the white space around them, of `length` tokens at most."""
    for first, last in _pieces(PARAGRAPH, text, start, end):
        inner = [part for each in _pieces(SENTENCE, text, first, last) for part in _short(text, *each, count, length)]
        for place, (one, other, tokens) in enumerate(inner, 1):
            yield _Unit(one, other, tokens, place == len(inner))


def _short(text: str, start: int, end: int, count: Count, length: int) -> Iterator[tuple[int, int, int]]:
    """A sentence with its tokens; one that is too long in halves, between words where it has any."""
    tokens = count(text[start:end])
    if tokens <= length or end - start < 2:
        yield start, end, tokens
        return
    middle = (start + end) // 2
    between = [match.span() for match in WORD.finditer(text, start + 1, end - 1)]
    first, second = min(between, key=lambda span: abs(span[0] - middle), default=(middle, middle))
    yield from _short(text, start, first, count, length)
    yield from _short(text, second, end, count, length)


def _pieces(border: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = start
    for match in border.finditer(text, start, end):
        yield from _trimmed(text, at, match.end())
        at = match.end()
    yield from _trimmed(text, at, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    inner = text[start:end]
    if kept := inner.strip().strip("\ufeff"):
        first = start + inner.index(kept)
        yield first, first + len(kept)


def _filled(units: list[_Unit], length: int, overlap: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(units):
        used, stop = 0, at
        while stop < len(units) and (stop == at or used + units[stop].tokens <= length):
            used += units[stop].tokens
            stop += 1
        if stop < len(units):  # back to where a paragraph ends, if that is in the second half
            filled = used
            for place in range(stop - 1, at, -1):
                if units[place].closes:
                    stop = place + 1 if filled >= length / 2 else stop
                    break
                filled -= units[place].tokens
        yield units[at].start, units[stop - 1].end
        if stop == len(units):
            return
        back, shared = stop, 0
        while back - 1 > at and shared + units[back - 1].tokens <= overlap:
            back -= 1
            shared += units[back].tokens
        at = back if back < stop else stop
