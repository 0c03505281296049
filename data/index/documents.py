"""Files → documents as UTF-8 text, whose bytes chunks are ranges of.

Text and Markdown stay as they are, byte for byte, so that a range of a chunk is one of the file. Of HTML the text of
its blocks is taken, of PDF what pypdf reads; headings of HTML become Markdown's. Nothing is run, and nothing fetched.
"""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from base.errors import BadItem, MetrolineError

SUFFIXES = (".txt", ".md", ".markdown", ".html", ".htm", ".pdf")
"""Endings of files that are documents."""
BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "td",
        "th",
        "tr",
        "ul",
        "br",
    ]
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
UNSEEN = frozenset(("script", "style", "template", "noscript", "svg", "head"))


@dataclass(frozen=True)
class Document:
    """One document."""

    name: str
    """Its path in the source."""
    text: str
    markdown: bool
    """Lines that begin with # are headings."""


def read(files: Mapping[str, Path]) -> list[Document]:
    """The documents of these files, by name, in their order. Raises MetrolineError, which names the file: no UTF-8, a
    damaged PDF, no text in it."""
    found = []
    for name, path in files.items():
        try:
            document = of_bytes(name, path.read_bytes())
        except BadItem as error:
            hint = "convert it or take it away, then pin the source again: metroline init NAME --data PATH --update"
            raise MetrolineError(f"{name}: {error}", hint=hint) from None
        found.append(document)
    return found


def of_bytes(name: str, raw: bytes) -> Document:
    """A file's document. Raises BadItem, which says why it is none."""
    suffix = Path(name).suffix.lower()
    if suffix == ".pdf":
        text = _pdf(raw)
    else:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise BadItem(f"not UTF-8 at byte {error.start:,}") from None
        if suffix in (".html", ".htm"):
            text = _html(text)
    if not text.strip():
        raise BadItem("there is no text in it" + (" (a scan?)" if suffix == ".pdf" else ""))
    return Document(name, text, markdown=suffix not in (".txt", ".pdf"))


class _Text(HTMLParser):
    """Collects what a reader would see, a block a paragraph."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._words: list[str] = []
        self._unseen = 0
        self._level = 0

    def end_block(self) -> None:
        """What was collected is a paragraph, or a heading."""
        if text := " ".join("".join(self._words).split()):
            self.blocks.append(f"{'#' * self._level} {text}" if self._level else text)
        self._words = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """See HTMLParser."""
        if tag == "body":  # HTML lets </head> be left out
            self._unseen = 0
        if tag in UNSEEN:
            self._unseen += 1
        elif tag in HEADINGS or tag in BLOCKS:
            self.end_block()
            self._level = HEADINGS.get(tag, 0)

    def handle_endtag(self, tag: str) -> None:
        """See HTMLParser."""
        if tag in UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in HEADINGS or tag in BLOCKS:
            self.end_block()
            self._level = 0

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        if not self._unseen:
            self._words.append(data)


def _html(text: str) -> str:
    parser = _Text()
    parser.feed(text)
    parser.close()
    parser.end_block()
    return "\n\n".join(parser.blocks)


def _pdf(raw: bytes) -> str:
    """Pages are paragraphs. Half characters of broken fonts become U+FFFD."""
    try:
        import pypdf
    except ImportError:
        raise MetrolineError("a .pdf is read by pypdf, which is not installed", hint="pip install pypdf") from None
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(raw)).pages]
    except Exception as error:  # the library raises its own, and Python's
        raise BadItem(f"not a PDF that can be read: {' '.join(str(error).split())[:100]}") from None
    return "\n\n".join(pages).encode(errors="replace").decode()
