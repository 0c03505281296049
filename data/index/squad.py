"""Files in the format of SQuAD (Rajpurkar et al. 2016): articles of paragraphs, and questions with their answers.

    {"data": [{"title", "paragraphs": [{"context", "qas": [{"question", "answers": [{"text"}]}]}]}]}

A paragraph is a document, named by its article and place.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import MetrolineError
from data.index.documents import Document


@dataclass(frozen=True)
class Asked:
    """A question of somebody, and where and what its answer is."""

    where: str
    """In the source: what messages call it."""
    question: str
    document: str
    answers: tuple[str, ...] = ()
    """Texts that answer it; none: only its document is known."""


def read(files: Mapping[str, Path]) -> tuple[list[Document], dict[str, Path], list[Asked]]:
    """Documents, the file of each, and questions. Raises MetrolineError, which names the place: not in this format."""
    documents: dict[str, Document] = {}
    sources: dict[str, Path] = {}
    asked: list[Asked] = []
    for name, path in files.items():
        for document, questions in _paragraphs(name, path):
            if document.name in documents:
                raise MetrolineError(f"{name}: the paragraph {document.name} is there twice")
            documents[document.name], sources[document.name] = document, path
            asked += questions
    return list(documents.values()), sources, asked


def _paragraphs(name: str, path: Path) -> Iterator[tuple[Document, list[Asked]]]:
    where = name
    try:
        for article in json.loads(path.read_bytes())["data"]:
            title = str(article["title"])
            for number, paragraph in enumerate(article["paragraphs"]):
                where = f"{name}: {title}, paragraph {number}"
                document = Document(f"{title}/{number}.txt", _text(paragraph["context"]), markdown=False)
                yield document, [_asked(where, each, document.name) for each in paragraph["qas"]]
    except (ValueError, TypeError, LookupError) as error:
        raise MetrolineError(f"{where}: not as SQuAD's files are: {error!r}") from None


def _asked(where: str, entry: Mapping[str, Any], document: str) -> Asked:
    answers = tuple(dict.fromkeys(_text(each["text"]) for each in entry["answers"]))
    return Asked(where, _text(entry["question"]), document, answers)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a text is missing or empty: {value!r}")
    return value
