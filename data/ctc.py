"""Frames of a sound → text, by connectionist temporal classification (Graves et al. 2006).

A frame says a character or the blank; equal ones in a row are one, and the blank parts those that are not. Many paths
of frames spell one text: beam search (Hannun et al. 2014, arXiv:1408.2873) adds up theirs, with an n-gram of characters
where the signature has one. What is the blank is the signature's to say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
import numpy.typing as npt

from data.signature import TranscriptOutput

Frames = npt.NDArray[Any]
"""[frames, symbols]: logarithms of probabilities."""
LEAST = -7.0
"""A symbol of a smaller logarithm in a frame is not followed."""
NEVER = float("-inf")


@dataclass
class Reading:
    """A beginning of the text, and how likely the frames so far spell it."""

    symbols: tuple[int, ...] = ()
    ends: float = NEVER
    """Logarithm of the paths that end in its last symbol."""
    parted: float = NEVER
    """Of those that end in the blank."""
    grams: float = 0.0
    """The n-gram's share, weighted."""
    at: tuple[int, ...] = ()
    """The frame of each symbol."""

    @property
    def total(self) -> float:
        """Logarithm of all its paths."""
        return _sum(self.ends, self.parted)

    @property
    def rank(self) -> tuple[float, tuple[int, ...]]:
        """The best is the least; of equal ones that of the earlier symbols, so that an answer never depends on luck."""
        return -(self.total + self.grams), self.symbols


def read(output: TranscriptOutput, frames: Frames) -> Reading:
    """The likeliest reading."""
    return greedy(output, frames) if output.beam == 1 else beam(output, frames)


def greedy(output: TranscriptOutput, frames: Frames) -> Reading:
    """The likeliest symbol of each frame, collapsed."""
    best = frames.argmax(1).tolist()
    new = [at for at, symbol in enumerate(best) if symbol != output.blank and (at == 0 or best[at - 1] != symbol)]
    return Reading(tuple(best[at] for at in new), float(frames.max(1).sum()), at=tuple(new))


def beam(output: TranscriptOutput, frames: Frames) -> Reading:
    """The best of `beam` readings that are followed at once."""
    kept, blank, longest = [Reading(parted=0.0)], output.blank, max(map(len, output.grams), default=0)
    for at, row in enumerate(frames.tolist()):
        found: dict[tuple[int, ...], Reading] = {}
        likely = [symbol for symbol, value in enumerate(row) if value >= LEAST and symbol != blank]
        for old in kept:
            same = _reading(found, old.symbols, old.grams, old.at)
            same.parted = _sum(same.parted, old.total + row[blank])
            gram = _row(output, old.symbols, longest) if likely else None
            for symbol in likely:
                paths = old.total
                if old.symbols and symbol == old.symbols[-1]:
                    same.ends = _sum(same.ends, old.ends + row[symbol])
                    paths = old.parted  # only after a blank is it said twice
                if paths == NEVER:
                    continue
                symbols = (*old.symbols, symbol)
                more = output.weight * gram[symbol] if gram is not None else 0.0
                longer = _reading(found, symbols, old.grams + more, (*old.at, at))
                longer.ends = _sum(longer.ends, paths + row[symbol])
        kept = sorted(found.values(), key=lambda each: each.rank)[: output.beam]
    return kept[0]


def worded(output: TranscriptOutput, frames: Frames) -> dict[str, Any]:
    """The answer, as Hugging Face's speech recognition says it: {"text", "chunks": [{"text", "timestamp"}]}, a chunk a
    word, in seconds."""
    found = read(output, frames)
    text = "".join(output.alphabet[symbol] for symbol in found.symbols)
    return {"text": " ".join(text.split()), "chunks": list(_words(output, found))}


def _words(output: TranscriptOutput, found: Reading) -> Iterable[dict[str, Any]]:
    word, places = "", list[int]()
    for symbol, at in [*zip(found.symbols, found.at, strict=True), (None, 0)]:
        part = " " if symbol is None else output.alphabet[symbol]
        if part.strip():
            word += part.strip()
            places.append(at)
        if part.endswith(" ") and word:
            span = [round(places[0] * output.step, 3), round((places[-1] + 1) * output.step, 3)]
            yield {"text": word, "timestamp": span}
            word, places = "", []


def alphabet_of(texts: Iterable[str], words: bool) -> list[str]:
    """What texts are spelt with, sorted: their characters, or their words with a space behind each."""
    parts = {part for text in texts for part in (text.split() if words else text)}
    return [f"{part} " if words else part for part in sorted(parts)]


def spell(alphabet: Sequence[str], text: str) -> list[int]:
    """A text as places in the alphabet. Raises KeyError: a part of it is not there."""
    places = {part: place for place, part in enumerate(alphabet)}
    words = any(len(part) > 1 for part in alphabet)
    return [places[f"{part} " if words else part] for part in (text.split() if words else text)]


def grams(texts: Iterable[str], alphabet: Sequence[str], blank: int, order: int, added: float = 0.1) -> dict[str, Any]:
    """An n-gram of the alphabet's symbols: of up to `order` - 1 before, the logarithms of what comes next, each count
    raised by `added`. The beginning of a text is the empty string's."""
    counts: dict[str, npt.NDArray[np.float64]] = {}
    for text in texts:
        symbols = spell(alphabet, text)
        for at, symbol in enumerate(symbols):
            for length in range(min(order - 1, at) + 1):
                before = "".join(alphabet[each] for each in symbols[at - length : at])
                counts.setdefault(before, np.zeros(len(alphabet)))[symbol] += 1
    smoothed = {before: row + added for before, row in sorted(counts.items())}
    for row in smoothed.values():
        row[blank] = 0.0
    return {
        before: tuple(round(log(value), 4) if value else -99.0 for value in (row / row.sum()).tolist())
        for before, row in smoothed.items()
    }


def _row(output: TranscriptOutput, before: tuple[int, ...], longest: int) -> Sequence[float] | None:
    """The n-gram's logarithms of what comes after these symbols; None: there is no n-gram."""
    if not output.grams or not output.weight:
        return None
    text = "".join(output.alphabet[each] for each in before[max(0, len(before) - longest) :])
    return next(found for at in range(len(text) + 1) if (found := output.grams.get(text[at:])) is not None)


def _reading(
    found: dict[tuple[int, ...], Reading], symbols: tuple[int, ...], grams: float, at: tuple[int, ...]
) -> Reading:
    if symbols not in found:
        found[symbols] = Reading(symbols, grams=grams, at=at)
    return found[symbols]


def _sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + log(1 + exp(b - a))
