"""Own text, for language modelling. It only asks whether there are few documents: the rest is `prepare`'s to judge."""

from contextlib import suppress
from itertools import islice
from pathlib import Path

from base.errors import MetrolineError
from data.fetch.compressed import unpacked_name
from data.fetch.own_files import SUFFIXES, OwnFiles, has_suffix, own_files
from data.text.documents import DocumentsConfig, read
from pipelines.recipe.own.found import Found

FEW = 100
"""Below this many documents a split by document may well leave one empty (of 25, one time in three); the text is cut by
position then."""


def look(data: Path, name: str, said: str = "") -> Found:
    """A language model of the text. Raises MetrolineError: no files of text."""
    own = own_files(data, "**/*", name=name)
    split = "{method: tail} # by position: few documents" if _few(own) else "{method: hash} # by document"
    return Found(own, SUFFIXES, said, "text", {"subject": "your own text", "split": split})


def _few(own: OwnFiles) -> bool:
    """Whether there are so few documents that they cannot be shared out between splits.

    A text file is one. Of the others rows are read until there are enough, those without `text` too: the recipe may
    name another field.
    """
    rows = {str(file): file for file in own.files if not has_suffix(unpacked_name(file), (".txt",))}
    texts = len(own.files) - len(rows)
    with suppress(MetrolineError):  # damaged, or no column `text`: prepare says so
        return texts + sum(1 for _ in islice(read(rows, DocumentsConfig(errors="drop")), FEW)) < FEW
    return False
