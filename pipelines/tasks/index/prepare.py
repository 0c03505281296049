"""Fetched files → documents and chunks that the embedder takes, and questions, shared out between splits."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from base.files import atomic_folder, sha256, write_json
from data import assign
from data.index.chunks import Chunk, chunks
from data.index.documents import Document
from data.index.passages import FILES, Passage, write
from data.signature import PassagesOutput, Signature
from data.split import SPLITS
from pipelines.tasks.index.config import DocumentsData, SquadData
from pipelines.tasks.index.embedder import Embedder
from pipelines.tasks.index.questions import QUESTIONS
from pipelines.tasks.index.source import source

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

FEWEST = 2


def prepare(recipe: "Recipe", raw: Path, out: Path, embedder: Embedder) -> None:
    """Fill the folder `out`. Raises MetrolineError, which names the file: no text, a question of no document."""
    data: DocumentsData | SquadData = recipe.data
    given = source(raw, data)
    made = [(document, list(_fitting(document, data, embedder))) for document in given.documents]
    count = sum(len(each) for _, each in made)
    if count < FEWEST:
        raise MetrolineError(f"{count} chunk in all the documents", hint="a text that short needs no index")
    items = [assign.Item(each.where, assign.digest(each.question.encode()), {}) for each in given.asked]
    splits = assign.assign(items, recipe.split) if items else []
    with atomic_folder(out) as folder:
        write(folder, ((document, given.hashes[document.name], each) for document, each in made))
        questions = {
            split: [{"question": each.question, "document": each.document, "answers": each.answers}
                    for each, now in zip(given.asked, splits, strict=True) if now == split]
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
            "documents": len(made), "chunks": count, "embedder": embedder.sha256,
        })  # fmt: skip


def _fitting(document: Document, data: DocumentsData | SquadData, embedder: Embedder) -> Iterator[Chunk]:
    """The document's chunks. Headings above one count too: where they are too long, the innermost are left out."""
    for chunk in chunks(document, embedder.count, length=data.length, overlap=data.overlap):
        text, heading = document.text[chunk.start : chunk.end], chunk.heading
        while heading and not embedder.fits(Passage("", 0, 0, text, heading).embedded):
            heading = heading.rpartition(" › ")[0]
        if not embedder.fits(Passage("", 0, 0, text, heading).embedded):
            hint = f"lower data.length: the embedder takes {embedder.text.length} tokens, its prefix among them"
            raise MetrolineError(f"{document.name}: a chunk of {embedder.count(text)} tokens is too long", hint=hint)
        yield Chunk(chunk.start, chunk.end, heading)
