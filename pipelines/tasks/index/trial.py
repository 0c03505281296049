"""Bundles of an index that is not exported yet, so that the endpoint can be asked while it is judged: one of it all,
one without some documents."""

import shutil
from collections.abc import Collection
from pathlib import Path

from base import manifest
from base.files import read_object, write_json
from data.index import golden
from data.index.passages import FILES, Passages, subset
from data.index.store import FOLDER as TABLE
from data.index.store import StoreConfig
from data.index.stores import opened
from data.signature import Signature
from pipelines.tasks.index.build import fill
from pipelines.tasks.index.embedder import FOLDER as EMBEDDER
from pipelines.tasks.index.reranker import FOLDER as RERANKER
from pipelines.tasks.index.searched import Searched

GOLDEN = 3
"""Chunks whose first words are a golden query: the endpoint wants some, and asks them before it answers."""


def bundle(index: Searched, prepared: Path, folder: Path, name: str, without: Collection[str] = ()) -> Path:
    """Write it to `folder`, named `name`. `without`: documents whose chunks are left out."""
    folder.mkdir(parents=True)
    kept = [number for number, document in enumerate(index.documents.tolist()) if document not in without]
    if without:
        subset(index.folder, folder, kept)
        texts = [index.passages.passage(number).embedded for number in kept]
        fill(folder / TABLE, StoreConfig(**index.config["store"]), index.vectors[kept], texts)
    else:
        for file in FILES:
            shutil.copyfile(index.folder / file, folder / file)
        shutil.copytree(index.folder / TABLE, folder / TABLE)
    for part in (EMBEDDER, RERANKER):
        if (index.folder / part).is_dir():
            shutil.copytree(index.folder / part, folder / part)
    described = read_object(prepared / "index.json")
    Signature.model_validate(described["signature"]).save(folder)
    config, passages = StoreConfig(**index.config["store"]), Passages(folder)
    golden.write(folder, [_query(folder, config, passages, number) for number in range(min(GOLDEN, len(kept)))])
    write_json(folder / "serving.json", {**index.config, "name": name, "max_tokens": 1, "precision": "fp32"})
    manifest.write(folder, {"name": name, "data_hash": described["data_hash"]})
    return folder


def _query(folder: Path, config: StoreConfig, passages: Passages, number: int) -> golden.Query:
    words = " ".join(passages.passage(number).text.split()[:8])
    hits = opened(folder / TABLE, config).search(None, words, golden.KEPT, "text")
    found = [(passages.passage(hit.number), hit.score) for hit in hits]
    places = [
        {"document": each.document, "start": each.start, "end": each.end, "score": score} for each, score in found
    ]
    return golden.Query(words, "text", tuple(places))
