"""Fetched files → documents and chunks that the embedder takes, and questions, shared out between splits."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError, nearest
from base.files import atomic_folder, sha256, write_json
from data import assign
from data.fetch.fetched import fetched
from data.index.chunks import Chunk, chunks
from data.index.documents import SUFFIXES, Document, read
from data.index.passages import FILES, Passage, write
from data.signature import PassagesOutput, Signature
from data.split import SPLITS
from pipelines.tasks.index.config import DocumentsData
from pipelines.tasks.index.embedder import Embedder
from pipelines.tasks.index.questions import QUESTIONS

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

FEWEST = 2


def prepare(recipe: "Recipe", raw: Path, out: Path, embedder: Embedder) -> None:
    """Fill the folder `out`. Raises MetrolineError, which names the file: no text, a question of no document."""
    data: DocumentsData = recipe.data
    files = fetched(raw, SUFFIXES)
    documents = read(files)
    made = [(document, list(_fitting(document, data, embedder))) for document in documents]
    count = sum(len(each) for _, each in made)
    if count < FEWEST:
        raise MetrolineError(f"{count} chunk in all the documents", hint="a text that short needs no index")
    asked = _questions(raw, data, [document.name for document in documents])
    splits = assign.assign([assign.Item(id_, assign.digest(question.encode()), {}) for id_, question, _ in asked],
                           recipe.split) if asked else []  # fmt: skip
    with atomic_folder(out) as folder:
        write(folder, ((document, sha256(files[document.name]), each) for document, each in made))
        questions = {
            split: [{"question": question, "document": name}
                    for (_, question, name), now in zip(asked, splits, strict=True) if now == split]
            for split in SPLITS
        }  # fmt: skip
        write_json(folder / QUESTIONS, questions)
        parts = {name: sha256(folder / name) for name in (*FILES, QUESTIONS)}
        text = embedder.text.model_copy(update={"name": "query"})
        signature = Signature(
            engine="retrieve", task="passage-retrieval", inputs=(text,), outputs=(PassagesOutput(name="passages"),)
        )
        write_json(folder / "index.json", {
            "data_hash": hashlib.sha256("".join(parts.values()).encode()).hexdigest(),
            "signature": signature.model_dump(mode="json"),
            "splits": {split: {"questions": len(each)} for split, each in questions.items()},
            "documents": len(documents), "chunks": count, "embedder": embedder.sha256,
        })  # fmt: skip


def _fitting(document: Document, data: DocumentsData, embedder: Embedder) -> Iterator[Chunk]:
    """The document's chunks. Headings above one count too: where they are too long, the innermost are left out."""
    for chunk in chunks(document, embedder.count, length=data.length, overlap=data.overlap):
        text, heading = document.text[chunk.start : chunk.end], chunk.heading
        while heading and not embedder.fits(Passage("", 0, 0, text, heading).embedded):
            heading = heading.rpartition(" › ")[0]
        if not embedder.fits(Passage("", 0, 0, text, heading).embedded):
            hint = f"lower data.length: the embedder takes {embedder.text.length} tokens, its prefix among them"
            raise MetrolineError(f"{document.name}: a chunk of {embedder.count(text)} tokens is too long", hint=hint)
        yield Chunk(chunk.start, chunk.end, heading)


def _questions(raw: Path, data: DocumentsData, names: list[str]) -> list[tuple[str, str, str]]:
    """Id, question and document of each row."""
    if data.questions is None:
        return []
    there = fetched(raw)
    if data.questions not in there:
        raise MetrolineError(f"data.questions: no file {data.questions}", hint=nearest(data.questions, there))
    known, found = set(names), []
    for number, line in enumerate(there[data.questions].read_text(encoding="utf-8").rstrip("\n").split("\n"), 1):
        where = f"{data.questions}:{number}"
        try:
            row: Any = json.loads(line)
            question, document = row["question"], row["document"]
        except (ValueError, TypeError, KeyError):
            raise MetrolineError(f"{where}: a row is an object with `question` and `document`") from None
        if not isinstance(question, str) or not question.strip():
            raise MetrolineError(f"{where}: the question is empty")
        if document not in known:
            raise MetrolineError(f"{where}: no document {document!r}", hint=nearest(str(document), names))
        found.append((where, question, document))
    return found
