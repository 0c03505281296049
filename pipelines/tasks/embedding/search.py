"""Exact search by vectors: what is measured of embeddings that find documents."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.retrieval.collection import Collection, Query
from pipelines.tasks.supervised.examples import padded
from pipelines.tasks.supervised.predict import predict

if TYPE_CHECKING:
    from pipelines.tasks.embedding.imported import Embedder


def searched(
    network: "Embedder", collection: Collection, queries: Sequence[Query], documents: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of queries [Q, W] and of these documents [D, W], each with its prefix; predicted on the CPU."""
    (declared,) = collection.signature.inputs
    encode = collection.tokenizer.encode
    before = [encode(getattr(declared, f"{side}_prefix")) for side in ("query", "document")]
    device = next(network.parameters()).device
    network.to("cpu")
    try:
        return (
            predict(network, padded([before[0] + query.tokens for query in queries])),
            predict(network, padded([before[1] + collection.tokens[number] for number in documents])),
        )
    finally:
        network.to(device)


def found_first(queries: NDArray[np.float32], documents: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Places [Q, most] of the documents with the largest inner product, the best first; of equals the earlier one."""
    alike = queries.astype(np.float64) @ documents.astype(np.float64).T
    return np.argsort(-alike, axis=1, kind="stable")[:, :most]


def cut(vectors: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The first numbers of each vector, of length 1 again."""
    kept = vectors[:, :size]
    made: NDArray[np.float32] = kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)
    return made
