"""Fetched files → documents and what is asked of them: files as they are, or SQuAD's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import MetrolineError, nearest
from base.files import sha256
from data.fetch.fetched import fetched
from data.index.documents import SUFFIXES, Document, read
from data.index.squad import Asked
from data.index.squad import read as read_squad
from pipelines.tasks.index.config import DocumentsData, SquadData


@dataclass(frozen=True)
class Source:
    """What an index is made of, and judged by."""

    documents: Sequence[Document]
    hashes: Mapping[str, str]
    """Document → SHA-256 of its file."""
    asked: Sequence[Asked]


def source(raw: Path, data: DocumentsData | SquadData) -> Source:
    """All of it. Raises MetrolineError, which names the place: no text, a question of no document."""
    if isinstance(data, SquadData):
        documents, paths, asked = read_squad(fetched(raw, data.suffixes))
        known = {path: sha256(path) for path in set(paths.values())}
        return Source(documents, {name: known[path] for name, path in paths.items()}, asked)
    files = fetched(raw, SUFFIXES)
    documents = read(files)
    names = [document.name for document in documents]
    return Source(documents, {name: sha256(files[name]) for name in names}, _questions(raw, data.questions, names))


def _questions(raw: Path, file: str | None, names: Sequence[str]) -> list[Asked]:
    if file is None:
        return []
    there = fetched(raw)
    if file not in there:
        raise MetrolineError(f"data.questions: no file {file}", hint=nearest(file, there))
    known, found = set(names), []
    for number, line in enumerate(there[file].read_text(encoding="utf-8").rstrip("\n").split("\n"), 1):
        where = f"{file}:{number}"
        try:
            row: Any = json.loads(line)
            question, document, answers = row["question"], row["document"], row.get("answers", [])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise MetrolineError(f"{where}: a row is an object with `question` and `document`") from None
        if not isinstance(question, str) or not question.strip():
            raise MetrolineError(f"{where}: the question is empty")
        if document not in known:
            raise MetrolineError(f"{where}: no document {document!r}", hint=nearest(str(document), names))
        if not isinstance(answers, list) or not all(isinstance(each, str) and each.strip() for each in answers):
            raise MetrolineError(f"{where}: `answers` is a list of texts")
        found.append(Asked(where, question, document, tuple(answers)))
    return found
