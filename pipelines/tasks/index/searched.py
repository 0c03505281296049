"""An index as a checkpoint, opened: what is asked is embedded and searched as serving will."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from base.files import read_object
from data.index.passages import Passages
from data.index.store import FOLDER as TABLE
from data.index.store import Hit, Mode, Store, StoreConfig
from data.index.stores import opened
from pipelines.tasks.index.embedder import FOLDER as EMBEDDER
from pipelines.tasks.index.embedder import Embedder

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Searched:
    """A built index. Raises MetrolineError: damaged."""

    def __init__(self, checkpoint: Path) -> None:
        self.folder = checkpoint
        self.config: dict[str, Any] = read_object(checkpoint / CONFIG)
        self.passages = Passages(checkpoint)
        self.embedder = Embedder(checkpoint / EMBEDDER)
        self.store: Store = opened(checkpoint / TABLE, StoreConfig(**self.config["store"]))

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Of all chunks, [chunks, W]."""
        return load_file(self.folder / WEIGHTS)["vectors"]

    def search(self, question: str, vector: NDArray[np.float32], k: int, mode: Mode) -> list[Hit]:
        """The best chunks."""
        return self.store.search(None if mode == "text" else vector, question, k, mode)

    def exact(self, vector: NDArray[np.float32], k: int) -> list[int]:
        """Numbers of the nearest chunks, each vector compared in float64."""
        cosines = self.vectors.astype(np.float64) @ vector.astype(np.float64)
        return np.argsort(-cosines, kind="stable")[:k].tolist()
