"""Chunks → vectors and the table: the checkpoint of an index.

What a text was embedded to is kept beside the checkpoint, so that the next build embeds only chunks that are new, and a
build that was killed goes on about where it was. Kept vectors of another embedder are not used.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from base.errors import BadItem, MetrolineError
from base.files import atomic_path, read_object, write_json
from base.progress import Progress
from data.index.passages import FILES, Passages
from data.index.store import FOLDER as TABLE
from data.index.store import StoreConfig
from data.index.stores import opened
from pipelines.tasks.index import weight as weights
from pipelines.tasks.index.embedder import FOLDER as EMBEDDER
from pipelines.tasks.index.embedder import Embedder
from pipelines.tasks.index.questions import questions
from pipelines.tasks.index.reranker import FOLDER as RERANKER
from pipelines.tasks.index.reranker import Reranker
from pipelines.tasks.index.searched import CONFIG, WEIGHTS, Searched
from pipelines.tasks.index.threshold import calibrated

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

KEPT = "vectors.safetensors"
SAVE_EVERY = 60.0
"""Seconds between two writes of what is kept."""
BLOCK = 4096
"""Chunks that go into the table at once."""


class Building:
    """`pipelines.tasks.interface.Builds`."""

    def __init__(self, recipe: "Recipe", prepared: Path, embedder: Embedder, reranker: Reranker | None = None) -> None:
        """Raises MetrolineError: prepared with another embedder."""
        index = read_object(prepared / "index.json")
        if index["embedder"] != embedder.sha256:
            again = f"metroline stage prepare {recipe.name}"
            raise MetrolineError(f"{prepared} was prepared for another embedder than {embedder.graph}", hint=again)
        self.recipe, self.prepared, self.embedder, self.reranker = recipe, prepared, embedder, reranker
        self.data_hash: str = index["data_hash"]

    def build(self, folder: Path, kept: Path) -> Mapping[str, Any]:
        """See `Builds`. Raises MetrolineError: a text that cannot be embedded, no room."""
        for name in FILES:
            shutil.copyfile(self.prepared / name, folder / name)
        passages = Passages(folder)
        texts = [passages.passage(number).embedded for number in range(len(passages))]
        vectors, made = embed(texts, self.embedder, kept / KEPT)
        save_file({"vectors": vectors}, folder / WEIGHTS)
        model = self.recipe.model
        weight = weights.DEFAULT if model.weight is None else model.weight
        config = StoreConfig(model.approximate_from, model.probes, model.refine, weight, model.language)
        fill(folder / TABLE, config, vectors, texts)
        self.embedder.copy(folder / EMBEDDER, f"{self.recipe.name}.embedder")
        if self.reranker:
            self.reranker.copy(folder / RERANKER, f"{self.recipe.name}.reranker")
        write_json(folder / CONFIG, {
            "store": asdict(config), "candidates": model.candidates, "threshold": self.recipe.task.threshold,
            "chunks": len(texts),
        })  # fmt: skip
        self._calibrate(folder)
        hashes = {"embedder": self.embedder.sha256} | ({"reranker": self.reranker.sha256} if self.reranker else {})
        return {"parameters": int(vectors.size), "embedded": made, **hashes}

    def _calibrate(self, folder: Path) -> None:
        """Find what the recipe leaves open by the validation split's questions, the threshold with all else."""
        values, asked = read_object(folder / CONFIG), questions(self.prepared, "valid")
        queries = [self.embedder.query(each.text) for each in asked]
        if self.recipe.model.weight is None:
            values["store"]["weight"] = weights.chosen(Searched(folder), asked, queries)
            write_json(folder / CONFIG, values)
        if self.recipe.task.threshold is None:
            values["threshold"] = calibrated(Searched(folder), asked, queries)
            write_json(folder / CONFIG, values)


def fill(folder: Path, config: StoreConfig, vectors: NDArray[np.float32], texts: Sequence[str]) -> None:
    """A new table of these chunks, numbered from 0."""
    store = opened(folder, config, width=vectors.shape[1])
    for at in range(0, len(texts), BLOCK):
        numbers = range(at, min(at + BLOCK, len(texts)))
        store.add(numbers, vectors[at : at + BLOCK], texts[at : at + BLOCK])
    store.finish()


def embed(texts: Sequence[str], embedder: Embedder, kept: Path) -> tuple[NDArray[np.float32], int]:
    """Vectors float32 [texts, W], and how many of them were not kept from before. What is kept now is these texts'.

    Raises MetrolineError: a text that the embedder does not take.
    """
    keys = [hashlib.sha256((embedder.text.document_prefix + text).encode()).hexdigest() for text in texts]
    known = _read(kept, embedder.sha256)
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    saved = time.monotonic()
    with Progress("embed", len(missing), "chunks") as progress:
        for key, text in missing.items():
            try:
                known[key] = embedder.document(text)
            except BadItem as error:
                raise MetrolineError(f"the chunk {text[:60]!r} cannot be embedded: {error}") from None
            progress.update(advance=1)
            if time.monotonic() - saved > SAVE_EVERY:
                _write(kept, known, embedder.sha256)
                saved = time.monotonic()
    now = {key: known[key] for key in keys}
    if missing or len(known) != len(now):
        _write(kept, now, embedder.sha256)
    return np.stack([now[key] for key in keys]), len(missing)


def _read(path: Path, embedder: str) -> dict[str, NDArray[np.float32]]:
    """What is kept; nothing where it is of another embedder or cannot be read: it only saves time."""
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get("embedder") != embedder:
                return {}
            keys, vectors = file.get_tensor("keys"), file.get_tensor("vectors")
    except (OSError, SafetensorError):
        return {}
    return {bytes(key).hex(): vector for key, vector in zip(keys, vectors, strict=True)}


def _write(path: Path, known: Mapping[str, NDArray[np.float32]], embedder: str) -> None:
    keys = np.frombuffer(bytes.fromhex("".join(known)), np.uint8).reshape(-1, 32)
    with atomic_path(path) as temporary:
        save_file({"keys": keys, "vectors": np.stack(list(known.values()))}, temporary, {"embedder": embedder})
