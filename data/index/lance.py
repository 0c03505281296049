"""The store in LanceDB: vectors, BM25 full text and both by reciprocal rank fusion (Cormack 2009) in one Lance table.

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
from data.index.store import Hit, Mode, StoreConfig

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
            raise MetrolineError("an index needs LanceDB, which is not installed", hint="metroline[index]") from None
        self._config, self._fusion = config, importlib.import_module("lancedb.rerankers").RRFReranker
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
            query = self._table.search(text, query_type="fts").limit(k)
        elif mode == "vector":
            query = self._near(self._table.search(vector, query_type="vector")).limit(k)
        else:
            both = self._table.search(query_type="hybrid", vector_column_name="vector", fts_columns="text")
            query = self._near(both.vector(vector).text(text)).rerank(self._fusion(return_score="all"))
            query = query.limit(max(k, DEPTH))
        found = query.select(["number"]).to_arrow().to_pydict()
        return [self._hit(found, place, mode) for place in range(len(found["number"]))][:k]

    def _near(self, query: Any) -> Any:
        query = query.distance_type("dot")
        if self._approximate:
            query = query.nprobes(self._config.probes).refine_factor(self._config.refine)
        return query

    @staticmethod
    def _hit(found: dict[str, list[Any]], place: int, mode: Mode) -> Hit:
        distance = found.get("_distance", [None] * (place + 1))[place]
        cosine = None if distance is None else 1.0 - distance  # "dot" is 1 - inner product
        score = {"vector": cosine, "text": found.get("_score"), "hybrid": found.get("_relevance_score")}[mode]
        return Hit(found["number"][place], float(score[place] if isinstance(score, list) else score or 0.0), cosine)
