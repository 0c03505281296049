"""The documents and chunks of an index on disk: which bytes of which document a chunk is.

    documents.bin       the documents' text, UTF-8, one behind the other
    documents.json      for each its name, where it begins and ends there, and the SHA-256 of its text and of its file
    chunks.arrow        for each chunk its document's number, start and end in bytes of that document, and headings

Of text and Markdown the text is the file, so that a chunk's range is one of the file.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from base.errors import MetrolineError
from base.files import read_json, write_json
from data.index.chunks import Chunk
from data.index.documents import Document

TEXT, LIST, CHUNKS = "documents.bin", "documents.json", "chunks.arrow"
FILES = (TEXT, LIST, CHUNKS)


@dataclass(frozen=True)
class Source:
    """One document. Places are bytes of documents.bin."""

    name: str
    start: int
    end: int
    sha256: str
    """Of its text."""
    file_sha256: str


@dataclass(frozen=True)
class Passage:
    """A range of a document, in bytes, and the text that is there."""

    document: str
    start: int
    end: int
    text: str
    heading: str = ""

    @property
    def embedded(self) -> str:
        """What is embedded and searched: the text below its headings."""
        above = self.heading.rsplit(" › ", 1)[0] if self.text.startswith("#") else self.heading
        return f"{above}\n{self.text}" if above and above not in self.text else self.text


class Passages:
    """What `write` has left in a folder. Reads documents.bin into memory."""

    def __init__(self, folder: Path) -> None:
        """Raises MetrolineError: missing, damaged, or a text that is not the one that was hashed."""
        try:
            self._bytes = (folder / TEXT).read_bytes()
            self.sources = [Source(**each) for each in read_json(folder / LIST)]
            with pa.memory_map(str(folder / CHUNKS)) as file:
                self._chunks = pa.ipc.open_file(file).read_all().to_pydict()
        except (OSError, ValueError, TypeError, pa.ArrowInvalid) as error:
            raise MetrolineError(f"{folder}: the documents of the index cannot be read: {error}") from None
        for source in self.sources:
            if hashlib.sha256(self._bytes[source.start : source.end]).hexdigest() != source.sha256:
                raise MetrolineError(f"{folder}: the text of {source.name} is not the one that was indexed")
        self._numbers = {source.name: number for number, source in enumerate(self.sources)}

    def __len__(self) -> int:
        return len(self._chunks["start"])

    def passage(self, number: int) -> Passage:
        """The chunk of that number, its text read from the document's bytes."""
        start, end = self._chunks["start"][number], self._chunks["end"][number]
        name = self.document(number)
        return Passage(name, start, end, self.text(name, start, end), self._chunks["heading"][number])

    def document(self, number: int) -> str:
        """The name of a chunk's document."""
        return self.sources[self._chunks["document"][number]].name

    def text(self, document: str, start: int, end: int) -> str:
        """The bytes [start, end) of a document, as text. Raises KeyError, UnicodeDecodeError: no such place."""
        source = self.sources[self._numbers[document]]
        return self._bytes[source.start + start : min(source.start + end, source.end)].decode()


def subset(source: Path, folder: Path, numbers: Sequence[int]) -> None:
    """Write the three files of some chunks of another folder's, numbered anew; all documents stay."""
    for name in (TEXT, LIST):
        shutil.copyfile(source / name, folder / name)
    with pa.memory_map(str(source / CHUNKS)) as file:
        _write_chunks(folder, pa.ipc.open_file(file).read_all().take(pa.array(numbers, pa.int64())))


def write(folder: Path, documents: Iterable[tuple[Document, str, list[Chunk]]]) -> None:
    """Write the three files. Each document comes with its file's SHA-256 and its chunks, in their order."""
    sources: list[Source] = []
    columns: dict[str, list[int | str]] = {"document": [], "start": [], "end": [], "heading": []}
    at = 0
    with (folder / TEXT).open("wb") as file:
        for document, file_hash, chunks in documents:
            raw = document.text.encode()
            file.write(raw)
            digest = hashlib.sha256(raw).hexdigest()
            before = place = 0  # a character and its byte: chunks begin in order
            for chunk in chunks:
                place += len(document.text[before : chunk.start].encode())
                before = chunk.start
                columns["document"].append(len(sources))
                columns["start"].append(place)
                columns["end"].append(place + len(document.text[chunk.start : chunk.end].encode()))
                columns["heading"].append(chunk.heading)
            sources.append(Source(document.name, at, at := at + len(raw), digest, file_hash))
    write_json(folder / LIST, [asdict(source) for source in sources])
    _write_chunks(folder, pa.table(columns))


def _write_chunks(folder: Path, table: pa.Table) -> None:
    with pa.OSFile(str(folder / CHUNKS), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
