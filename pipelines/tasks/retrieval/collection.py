"""Prepared documents and queries, tokenized once, as the tasks that learn from them take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data.records import Records
from data.signature import Signature
from data.text.tokenizer import Tokenizer

Tokens = list[int]
INPUTS = ("title", "text")
"""Of each record; a query has no title."""
DOCUMENTS = "documents"
"""The split that holds them."""


@dataclass(frozen=True)
class Query:
    """What asks."""

    text: str
    tokens: Tokens
    relevant: frozenset[int]
    """Numbers of the documents that answer it."""
    candidates: tuple[int, ...]
    """What BM25 finds, the best first."""
    title: bool
    """It is a document's title, which that document is then shown without."""

    @property
    def negatives(self) -> tuple[int, ...]:
        """What BM25 finds and nobody said to answer it."""
        return tuple(number for number in self.candidates if number not in self.relevant)


class Collection:
    """A prepared folder. Raises MetrolineError: not prepared, damaged."""

    def __init__(self, prepared: Path) -> None:
        self.prepared, self.records = prepared, Records(prepared, DOCUMENTS)
        self.records.verify()
        self.index: dict[str, Any] = dict(self.records.index)
        self.data_hash = self.records.data_hash
        self.signature = Signature.model_validate(self.index["signature"])
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json")
        parts = [self.records.inputs(number) for number in range(len(self.records))]
        self.bodies = [text.decode() for _, text in parts]
        self.texts = [f"{title.decode()} {body}" if title else body for (title, _), body in zip(parts, self.bodies,
                                                                                              strict=True)]  # fmt: skip

    @cached_property
    def tokens(self) -> list[Tokens]:
        """Of each document, title and text."""
        return self.tokenizer.encode_batch(self.texts)

    @cached_property
    def body_tokens(self) -> list[Tokens]:
        """Of each document's text alone."""
        return self.tokenizer.encode_batch(self.bodies)

    def shown(self, query: Query, number: int) -> Tokens:
        """A document as the query is answered with it in training: never with the title that asks."""
        return self.body_tokens[number] if query.title else self.tokens[number]

    def queries(self, split: str) -> list[Query]:
        """Of one split, in order."""
        records = Records(self.prepared, split)
        records.verify()
        texts = [records.inputs(number)[1].decode() for number in range(len(records))]
        notes: Sequence[dict[str, Any]] = [records.meta(number) for number in range(len(records))]
        return [
            Query(text, tokens, frozenset(note["relevant"]), tuple(note["candidates"]), bool(note.get("title")))
            for text, tokens, note in zip(texts, self.tokenizer.encode_batch(texts), notes, strict=True)
        ]
