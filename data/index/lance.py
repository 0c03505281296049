"""The store in LanceDB: vectors and BM25 full text in one Lance table, searched by either or both.

The folder may be any address that LanceDB opens. Full text is stemmed, in lower case, without accents and stop words.
https://lancedb.github.io/lancedb/python/python/
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from base.errors import MetrolineError
from data.index.store import Hit, Mode, StoreConfig, fused

TABLE = "chunks"
DEPTH = 50
"""Chunks of each search that fusion looks at."""


class LanceStore:
    """`data.index.store.Store`."""

    def __init__(self, folder: Path, config: StoreConfig, *, width: int | None = None) -> None:
        """See `opened`."""
        os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of every search
        try:
            lancedb: Any = importlib.import_module("lancedb")  # so that a Bento of other models does without it
        except ImportError:
            raise MetrolineError("an index needs LanceDB, which is not installed", hint="pip install lancedb") from None
        self._config = config
        try:
            database = lancedb.connect(str(folder))
            if width is None:
                self._table: Any = database.open_table(TABLE)
                self._approximate = any("vector" in index.columns for index in self._table.list_indices())
                return
            vector = pa.list_(pa.float32(), width)
            schema = pa.schema([("number", pa.int64()), ("text", pa.string()), ("vector", vector)])
            self._table, self._approximate = database.create_table(TABLE, schema=schema), False
        except Exception as error:  # the library raises several of its own, and Python's
            said = " ".join(str(error).split())[:200]
            raise MetrolineError(f"{folder}: the table of chunks cannot be opened: {said}") from None

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def add(self, numbers: Sequence[int], vectors: NDArray[np.float32], texts: Sequence[str]) -> None:
        """See `Store`."""
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
        columns = {
            "number": pa.array(numbers, pa.int64()),
            "text": pa.array(texts, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
        self._table.add(pa.table(columns))

    def finish(self) -> None:
        """See `Store`. Many chunks get an inverted file of product-quantized vectors, whose best are compared again."""
        indexes: Any = importlib.import_module("lancedb.index")
        words = indexes.FTS(language=self._config.language, stem=True, remove_stop_words=True, ascii_folding=True)
        self._table.create_index("text", config=words)
        if len(self) >= self._config.approximate_from:
            self._table.create_index("vector", config=indexes.IvfPq(distance_type="dot"))
            self._approximate = True
        self._table.optimize()

    def search(self, vector: NDArray[np.float32] | None, text: str, k: int, mode: Mode) -> list[Hit]:
        """See `Store`."""
        if mode == "text":
            return self._words(text, k, None)
        assert vector is not None
        if mode == "vector":
            return self._nearest(vector, k)
        depth = max(k, DEPTH)
        return fused(self._nearest(vector, depth), self._words(text, depth, vector), self._config.weight)[:k]

    def _nearest(self, vector: NDArray[np.float32], k: int) -> list[Hit]:
        query = self._near(self._table.search(vector, query_type="vector")).limit(k).select(["number", "_distance"])
        found = query.to_arrow().to_pydict()
        cosines = [1.0 - each for each in found["_distance"]]  # "dot" is 1 - inner product
        return [Hit(number, cosine, cosine) for number, cosine in zip(found["number"], cosines, strict=True)]

    def _words(self, text: str, k: int, vector: NDArray[np.float32] | None) -> list[Hit]:
        """By BM25; with the cosine where a vector is given."""
        columns = ["number", "_score", *(["vector"] if vector is not None else [])]
        found = self._table.search(text, query_type="fts").limit(k).select(columns).to_arrow()
        cosines: list[float | None] = [None] * len(found)
        if vector is not None and len(found):
            rows = found["vector"].combine_chunks().flatten().to_numpy().reshape(len(found), -1)
            cosines = [float(each) for each in rows @ vector]
        scores = zip(found["number"].to_pylist(), found["_score"].to_pylist(), cosines, strict=True)
        return [Hit(number, score, cosine) for number, score, cosine in scores]

    def _near(self, query: Any) -> Any:
        query = query.distance_type("dot")
        if self._approximate:
            query = query.nprobes(self._config.probes).refine_factor(self._config.refine)
        return query
