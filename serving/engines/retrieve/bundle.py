"""A bundle of an index: documents, the table of chunks, and the embedder, a bundle of its own inside; perhaps a
reranker, another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from base.errors import MetrolineError
from base.manifest import REBUILD
from data.signature import FILE
from serving.bundle import Bundle, demand
from serving.engines.forward.bundle import GOLDEN, ForwardBundle, ranks

EMBEDDER, RERANKER = "embedder", "reranker"
TABLE = "table"
DOCUMENTS = ("documents.bin", "documents.json", "chunks.arrow")
"""As data.index.passages.FILES, which brings Arrow: the process that starts the others does without."""


@dataclass(frozen=True)
class RetrieveBundle(Bundle):
    """A verified bundle with documents, table and embedder. Its precision is the one that its chunks were embedded
    with: METROLINE_PRECISION does not change it, since vectors of two precisions are not to be compared."""

    embedder: ForwardBundle
    reranker: ForwardBundle | None
    candidates: int
    """Chunks that the reranker orders."""
    store: Mapping[str, Any]
    """How the table is searched (`data.index.store.StoreConfig`)."""
    threshold: float
    """Least score of a question and a chunk that has to do with it: the reranker's, else their cosine."""

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
        _closed(path, listed)
        embedder = ForwardBundle.load(path / EMBEDDER)
        reranker = ForwardBundle.load(path / RERANKER) if f"{RERANKER}/manifest.json" in listed else None
        if reranker and not ranks(reranker.signature):
            raise ValueError(f"{RERANKER}: a reranker")
        return {"embedder": embedder, "precision": embedder.precision, "reranker": reranker,
                "candidates": int(serving.get("candidates", 0)), "store": dict(serving["store"]),
                "threshold": float(serving["threshold"])}  # fmt: skip


def _closed(path: Path, listed: frozenset[str]) -> None:
    """Raise MetrolineError for a file in the table's folder that the manifest does not list: of a table the store opens
    the newest version that lies there, whoever wrote it."""
    for each in sorted((path / TABLE).rglob("*")):
        name = each.relative_to(path).as_posix()
        if name not in listed and (each.is_symlink() or not each.is_dir()):
            raise MetrolineError(f"{path}: the manifest does not list {name}", hint=REBUILD)
