"""A bundle of an index: documents, the table of chunks, and the embedder, a bundle of its own inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from data.signature import FILE
from serving.bundle import Bundle, demand
from serving.engines.forward.bundle import GOLDEN, ForwardBundle

EMBEDDER = "embedder"
TABLE = "table"
DOCUMENTS = ("documents.bin", "documents.json", "chunks.arrow")
"""As data.index.passages.FILES, which brings Arrow: the process that starts the others does without."""


@dataclass(frozen=True)
class RetrieveBundle(Bundle):
    """A verified bundle with documents, table and embedder. Its precision is the one that its chunks were embedded
    with: METROLINE_PRECISION does not change it, since vectors of two precisions are not to be compared."""

    embedder: ForwardBundle
    store: Mapping[str, Any]
    """How the table is searched (`data.index.store.StoreConfig`)."""
    threshold: float
    """Least cosine of a question and a chunk that has to do with it."""

    @property
    def graph(self) -> Path:
        """The embedder's."""
        return self.embedder.graph

    @classmethod
    def load(cls, path: Path, precision: str | None = None) -> Self:
        """See Bundle."""
        return super().load(path)

    @classmethod
    def graphs(cls, precision: str) -> tuple[str, ...]:
        """They are the embedder's, which asks for them."""
        return ()

    @classmethod
    def facts(
        cls, path: Path, listed: frozenset[str], manifest: Mapping[str, Any], serving: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See Bundle."""
        demand(path, listed, FILE, GOLDEN, f"{EMBEDDER}/manifest.json", *DOCUMENTS)
        embedder = ForwardBundle.load(path / EMBEDDER)
        return {"embedder": embedder, "precision": embedder.precision, "store": dict(serving["store"]),
                "threshold": float(serving["threshold"])}  # fmt: skip
