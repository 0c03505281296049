"""What an index is asked to judge it: people's questions, or else sentences of its own chunks (known-item search)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from base.files import read_object
from data.index.chunks import SENTENCE
from data.index.passages import Passages
from pipelines.tasks.index.embedder import Embedder

QUESTIONS = "questions.json"
"""Of prepared data: split → its questions, each with the document that answers it."""
WORDS = 5
"""Fewest of a sentence that is asked for."""


@dataclass(frozen=True)
class Question:
    """One question, and where its answer is."""

    text: str
    document: str
    start: int = 0
    end: int = -1
    """Bytes of the document that a chunk must hold; -1: any chunk of it will do."""
    answers: tuple[str, ...] = ()
    """Texts that answer it, where somebody has written them down."""

    def answered(self, passages: Passages, number: int) -> bool:
        """Whether the chunk of that number holds the answer."""
        if passages.document(number) != self.document:
            return False
        chunk = passages.passage(number)
        return self.end < 0 or (chunk.start <= self.start and self.end <= chunk.end)


def questions(prepared: Path, split: str) -> list[Question]:
    """People's questions of a split; none where the recipe has none."""
    return [Question(each["question"], each["document"], answers=tuple(each["answers"]))
            for each in read_object(prepared / QUESTIONS)[split]]  # fmt: skip


def sentences(passages: Passages, most: int, embedder: Embedder) -> list[Question]:
    """The middle sentence of each of at most `most` chunks, spread over all; chunks without one are left out."""
    places = np.unique(np.linspace(0, len(passages) - 1, min(most, len(passages))).astype(np.int64))
    found = []
    for number in places.tolist():
        chunk = passages.passage(number)
        at, parts = 0, []
        for border in [*SENTENCE.finditer(chunk.text), None]:
            stop = border.start() if border else len(chunk.text)
            parts.append((at, stop))
            at = border.end() if border else stop
        start, stop = parts[len(parts) // 2]
        text = chunk.text[start:stop].strip()
        if len(text.split()) >= WORDS and embedder.fits(text):
            begin = chunk.start + len(chunk.text[:start].encode())
            found.append(Question(text, chunk.document, begin, begin + len(chunk.text[start:stop].encode())))
    if not found:
        chunk = passages.passage(0)
        found.append(Question(chunk.embedded, chunk.document))
    return found
