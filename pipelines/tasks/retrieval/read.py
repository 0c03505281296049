"""Documents and judged queries out of fetched files."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.errors import MetrolineError, nearest
from data.fetch.fetched import fetched
from data.tables.rows import Row, read_rows
from pipelines.tasks.retrieval.config import DocumentsConfig, JudgedData, QueriesConfig

STRING = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
"""A string as Python prints it."""
SEPARATORS = re.compile(r"""[\s,\[\]()'\"]+""")


@dataclass(frozen=True)
class Document:
    """What is searched."""

    id: str
    title: str
    text: str

    @property
    def whole(self) -> str:
        """Title and text."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass
class Query:
    """What asks, and the numbers of the documents that answer it."""

    place: str
    """Its file and row."""
    text: str
    relevant: set[int] = field(default_factory=set)
    meta: dict[str, Any] = field(default_factory=dict)


def read(raw: Path, data: JudgedData) -> tuple[list[Document], list[Query]]:
    """All of both, in reading order. Raises MetrolineError with file and row: no such column, an empty document, an id
    twice, a query that names a document that is not there."""
    files = fetched(raw)
    documents: dict[str, Document] = {}
    for row in read_rows(files, data.documents.rows):
        document = _document(row, data.documents)
        if document.id in documents:
            raise MetrolineError(f"{row.id}: a second document {document.id!r}", hint="data.documents.id names each")
        documents[document.id] = document
    if not documents:
        raise MetrolineError("there is no document", hint="see data.documents.rows.files")
    numbers = {name: number for number, name in enumerate(documents)}
    queries: dict[str, Query] = {}
    for row in read_rows(files, data.queries.rows):
        _take(row, data.queries, queries, numbers)
    return list(documents.values()), list(queries.values())


def _document(row: Row, config: DocumentsConfig) -> Document:
    title = _value(row, config.title) if config.title else ""
    text = _value(row, config.text)
    if config.printed:
        text = " ".join(one or other for one, other in STRING.findall(text))
    if not (title + text).strip():
        raise MetrolineError(f"{row.id}: the document has no text", hint="leave such rows out")
    return Document(_value(row, config.id), title, text)


def _take(row: Row, config: QueriesConfig, queries: dict[str, Query], numbers: dict[str, int]) -> None:
    """Add a row to the queries."""
    name, text = _value(row, config.id), _value(row, config.text)
    query = queries.setdefault(name, Query(row.id, text, meta=dict(row.values)))
    if query.text != text:
        raise MetrolineError(f"{row.id}: query {name!r} has another text in {query.place}", hint="give it another id")
    for wanted in filter(None, SEPARATORS.split(_value(row, config.relevant))):
        if wanted not in numbers:
            raise MetrolineError(f"{row.id}: there is no document {wanted!r}", hint=nearest(wanted, numbers))
        query.relevant.add(numbers[wanted])


def _value(row: Row, column: str) -> str:
    if column not in row.values:
        raise MetrolineError(f"{row.id}: no column {column!r}", hint=nearest(column, row.values))
    value = row.values[column]
    return "" if value is None else str(value)
