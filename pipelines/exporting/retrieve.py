"""An index in its bundle: documents, table and embedder, copied and searched again, with golden queries.

The copy must answer as the checkpoint does, and every chunk's text must be the bytes of its document.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from base.progress import Progress
from data.index import golden
from data.index.passages import FILES, Passages
from data.index.store import FOLDER as TABLE
from data.index.store import MODES, Mode, Store, StoreConfig
from data.index.stores import opened

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipelines.tasks.interface import Retrieve

NEEDED = ("config.json", *FILES)
"""Files of the checkpoint without which it cannot be served."""
FOLDERS = (TABLE, "embedder", "reranker")
"""Of these an index has no reranker, or one."""
LIBRARIES = ("lancedb",)
"""What the endpoint must have beside what every bundle needs (pipelines/release/bento.py)."""


def steps(config: "BaseModel") -> int:
    """How often `write` reports progress."""
    return 2


def facts(exportable: "Retrieve", folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What serving.json and the manifest's `model` say besides what every bundle says."""
    settings = dict(exportable.settings) | {"precision": "fp32", "libraries": list(LIBRARIES)}
    return settings, {"engine": "retrieve", "parameters": 0}


def write(exportable: "Retrieve", folder: Path, config: "BaseModel", progress: Progress) -> dict[str, Any]:
    """Copy, and compare. Returns the contents of parity.json. Raises MetrolineError: the copy answers otherwise."""
    for name in (name for name in FOLDERS if (exportable.checkpoint / name).is_dir()):
        shutil.copytree(exportable.checkpoint / name, folder / name)
    for name in FILES:
        shutil.copyfile(exportable.checkpoint / name, folder / name)
    progress.update(advance=1, form="table")
    settings = StoreConfig(**exportable.settings["store"])
    stores = [opened(place / TABLE, settings) for place in (exportable.checkpoint, folder)]
    passages = Passages(folder)
    queries, agreeing = [], []
    for text, vector in exportable.queries:
        for mode in MODES:
            first, copy = (_found(store, passages, text, vector, mode) for store in stores)
            agreeing.append(first == copy)
            queries.append(golden.Query(text, mode, copy))
    if not all(agreeing):
        raise MetrolineError("export: the copied table does not answer as the one that was evaluated")
    golden.write(folder, queries)
    progress.update(advance=1, parity="table")
    return {"table": {"queries": len(queries), "chunks": len(passages), "agreement": float(np.mean(agreeing))}}


def _found(
    store: Store, passages: Passages, text: str, vector: NDArray[np.float32], mode: Mode
) -> tuple[Mapping[str, Any], ...]:
    hits = store.search(vector, text, golden.KEPT, mode)
    places = [(passages.passage(hit.number), hit.score) for hit in hits]
    return tuple(
        {"document": each.document, "start": each.start, "end": each.end, "score": score} for each, score in places
    )
