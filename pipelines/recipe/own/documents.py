"""Own documents, to be searched and cited."""

from pathlib import Path

from data.fetch.own_files import own_files
from data.index.documents import SUFFIXES
from pipelines.recipe.own.found import Found

EMBEDDER = "minilm"
"""The recipe whose release embeds them."""


def look(data: Path, name: str) -> Found:
    """An index of the documents. Raises MetrolineError: there is none."""
    own = own_files(data, "**/*", name=name, suffixes=SUFFIXES)
    return Found(own, SUFFIXES, f"an index of documents, embedded by {EMBEDDER}", "documents", {"embedder": EMBEDDER})
