"""Fetched files → records of queries, by split, and of documents, with what BM25 finds for each query.

{train,valid,test}-*.arrow    a query: its text, how many documents answer it; notes: `relevant` and `candidates`,
                              numbers of documents, and in train `title`, where it is a document's title
documents-*.arrow             a document: title and text, cut to `length` tokens together
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError
from base.files import atomic_folder
from base.progress import Progress
from data import assign, leaks
from data.records import RecordWriter, write_index
from data.signature import Signature
from data.split import SPLITS
from data.text.cut import first_tokens
from data.text.tokenizer import Tokenizer
from pipelines.tasks.retrieval.bm25 import BM25
from pipelines.tasks.retrieval.collection import DOCUMENTS, INPUTS
from pipelines.tasks.retrieval.config import JudgedData
from pipelines.tasks.retrieval.read import Document, Query, read
from pipelines.tasks.supervised.fit import tokenizer_of_others

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def prepare(recipe: "Recipe", raw: Path, out: Path, pretrained: Path | None, signature: Signature) -> None:
    """Fill the folder `out`. `pretrained`: the files of the first weights, whose tokenizer is taken.

    Raises MetrolineError, which names file and row; a split without a query.
    """
    data: JudgedData = recipe.data
    documents, queries = read(raw, data)
    asked = [assign.Item(each.place, assign.digest(each.text.encode()), each.meta) for each in queries]
    splits = assign.assign(asked, recipe.split)
    kept = leaks.drop_duplicates(asked, splits, recipe.split)
    with atomic_folder(out) as folder, Progress("prepare", len(queries), "queries") as progress:
        fitted = tokenizer_of_others(pretrained, folder)
        writer = _Writer(data, Tokenizer.load(folder / "tokenizer.json"), documents, folder)
        writers = []
        for split in SPLITS:
            with RecordWriter(folder, split, target="int64", inputs=INPUTS) as records:
                for query, before, now in zip(queries, splits, kept, strict=True):
                    if before == split:
                        writer.query(records, query, "" if now == split else "in a later split too")
                        progress.update(advance=1)
                if split == "train" and data.titles:
                    for number, document in enumerate(documents):
                        writer.title(records, document, number)
            writers.append(records)
            if split != "valid" and not records.entry["records"]:
                raise MetrolineError(f"the {split} split has no query", hint=f"{len(queries):,} were read; see split")
        writers.append(writer.documents())
        facts: dict[str, Any] = {"signature": signature.model_dump(mode="json"), "fitted": fitted, "cut": writer.cut}
        write_index(folder, writers, **facts)


@dataclass
class _Writer:
    data: JudgedData
    tokenizer: Tokenizer
    all: Sequence[Document]
    folder: Path
    cut: int = 0
    """Documents that were longer than `length`."""

    def __post_init__(self) -> None:
        self.index = BM25([each.whole for each in self.all])

    def query(self, records: RecordWriter, query: Query, refused: str) -> None:
        """Write a query, or say why not."""
        count = len(self.tokenizer.encode(query.text))
        if refused or not query.relevant or not 0 < count <= self.data.query_length:
            none = "" if query.relevant else "no document answers it"
            records.drop(query.place, refused or none or "empty or longer than data.query_length")
            return
        found = self.index.top(query.text, self.data.candidates).tolist()
        notes = {"relevant": sorted(query.relevant), "candidates": found}
        records.add(query.place, {"title": b"", "text": query.text.encode()}, len(query.relevant), notes)

    def title(self, records: RecordWriter, document: Document, number: int) -> None:
        """Write a document's title as a query that asks for its text."""
        place, count = f"title of {document.id}", len(self.tokenizer.encode(document.title))
        if not document.text.strip() or not 0 < count <= self.data.query_length:
            records.drop(place, "title or text empty, or title longer than data.query_length")
            return
        found = self.index.top(document.title, self.data.candidates).tolist()
        notes = {"relevant": [number], "candidates": found, "title": True}
        records.add(place, {"title": b"", "text": document.title.encode()}, 1, notes)

    def documents(self) -> RecordWriter:
        """Write the documents."""
        with RecordWriter(self.folder, DOCUMENTS, target="int64", inputs=INPUTS) as records:
            for document, (title, text) in zip(self.all, self._fitting(), strict=True):
                content = {"title": title.encode(), "text": text.encode()}
                records.add(document.id, content, len(self.tokenizer.encode(f"{title} {text}")))
        return records

    def _fitting(self) -> Iterator[tuple[str, str]]:
        for document in self.all:
            head = first_tokens(document.whole, self.data.length, self.tokenizer)
            self.cut += head != document.whole
            title = document.title and head[: len(document.title)]
            yield title, head[len(title) + 1 :] if title else head
