"""A small index by the line itself: a byte embedder that is released, documents, and the stages one by one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import TensorProto

from base.files import read_json, write_json
from data.fetch.sources import pin
from data.signature import VectorOutput
from pipelines.line import stages
from pipelines.paths import Paths
from tests.serving import chat_bundle, forward_bundles, tiny_bundle
from tests.serving.forward_bundles import VECTOR, Builder

EMBEDS = VECTOR.model_copy(update={
    "inputs": (VECTOR.inputs[0].model_copy(update={"length": 400}),),
    "outputs": (VectorOutput(name="vector", shape=(16,)),),
})  # fmt: skip
DOCUMENTS = {
    "guide/install.md": b"# Install\n\nThe line needs Python 3.11.\n\n## On Linux\n\nRun make setup in the project. "
    b"It takes four minutes on two cores.\n\n## On Windows\n\nIt does not run there. Use a container instead.\n",
    "harbour.txt": "The harbour of Zürich – a lake port – opened in 1887. Ferries leave hourly.\n\nThe oldest ferry "
    "is called Concordia. It was built by Escher Wyss.\n".encode(),
    "rules.html": b"<html><head><title>t</title></head><body><h1>Rules</h1><p>Dogs must be kept on a leash.</p>"
    b"<script>alert('dogs')</script><h2>Fines</h2><p>A fine is forty francs &amp; must be paid at once.</p></body>",
    "speech.txt": b"My fellow citizens, the treasury is full. The debt was paid last year.\n\n" * 6,
}
QUESTIONS = [
    {"question": "When did the harbour open?", "document": "harbour.txt", "answers": ["1887"]},
    {"question": "What is the oldest ferry called?", "document": "harbour.txt", "answers": ["Concordia"]},
    {"question": "How long does make setup take?", "document": "guide/install.md", "answers": ["four minutes"]},
    {"question": "How much is a fine?", "document": "rules.html", "answers": ["forty francs"]},
    {"question": "Must dogs be on a leash?", "document": "rules.html"},
    {"question": "Was the debt paid?", "document": "speech.txt"},
    {"question": "Does it run on Windows?", "document": "guide/install.md"},
    {"question": "Who built the ferry?", "document": "harbour.txt", "answers": ["Escher Wyss"]},
]


def embedder(root: Path, name: str = "bytes", seed: int = 2) -> Paths:
    """A released bundle that embeds texts as the mean of random vectors of their bytes, of length 1."""
    paths = Paths(name, root)

    def make() -> None:
        tokenizer = tiny_bundle.byte_tokenizer()
        tokenizer.save(str(paths.bundle / "tokenizer.json"))
        b = Builder(seed)
        x = b.node("Gather", b.random(tokenizer.get_vocab_size(), 16), "text")
        mask = b.node("Cast", b.node("Greater", "text", b.weight(np.array(0))), to=TensorProto.FLOAT)
        x = b.node("Mul", x, b.node("Unsqueeze", mask, b.weight(np.array([2]))))
        length = b.node("Unsqueeze", b.node("Cast", "lengths", to=TensorProto.FLOAT), b.weight(np.array([1])))
        x = b.node("Div", b.node("ReduceSum", x, b.weight(np.array([1])), keepdims=0), length)
        b.node("LpNormalization", x, axis=1, p=2, out="vector")
        inputs = {"text": (TensorProto.INT64, ["B", "S"]), "lengths": (TensorProto.INT64, ["B"])}
        b.save(paths.bundle / "model.onnx", inputs, {"vector": ["B", 16]})

    forward_bundles.write(paths.bundle, name, EMBEDS, forward_bundles.text, make)
    version = read_json(paths.bundle / "manifest.json")["version"]
    write_json(paths.release, {"tag": f"{name}:{version}", "version": version})
    (root / "pipelines/recipes").mkdir(parents=True, exist_ok=True)
    (root / f"pipelines/recipes/{name}.yaml").write_text("description: bytes\n")
    return paths


def reranker(root: Path, name: str = "pairs") -> Paths:
    """A released bundle that ranks texts by sums of random vectors of their bytes; it reads 60 bytes of a text."""
    paths = Paths(name, root)
    forward_bundles.pairs(paths.bundle, name)
    version = read_json(paths.bundle / "manifest.json")["version"]
    write_json(paths.release, {"tag": f"{name}:{version}", "version": version})
    (root / "pipelines/recipes").mkdir(parents=True, exist_ok=True)
    (root / f"pipelines/recipes/{name}.yaml").write_text("description: pairs of bytes\n")
    return paths


def chat(root: Path, name: str = "talker") -> Paths:
    """A released chat model that babbles."""
    paths = Paths(name, root)
    chat_bundle.build(paths.bundle, name=name, context=4096, max_tokens=200)
    version = read_json(paths.bundle / "manifest.json")["version"]
    write_json(paths.release, {"tag": f"{name}:{version}", "version": version})
    (root / f"pipelines/recipes/{name}.yaml").write_text("description: babble\n")
    return paths


def write(root: Path, name: str = "library", files: dict[str, bytes] | None = None, *, asked: bool = False,
          **changes: Any) -> Paths:  # fmt: skip
    """The recipe and its documents."""
    folder = root / f"documents-{name}"
    given = dict(DOCUMENTS if files is None else files)
    if asked:
        given["questions.jsonl"] = "".join(json.dumps(each) + "\n" for each in QUESTIONS).encode()
    for path, raw in given.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(raw)
    questions = {"questions": "questions.jsonl"} if asked else {}
    suffixes = (".txt", ".md", ".html", ".pdf", ".jsonl")
    values = {
        "description": "a library", "licence": "none",
        "source": pin(folder, suffixes=suffixes).model_dump(mode="json"),
        "pretrained": {"source": {"kind": "release", "name": "bytes"}},
        "data": {"kind": "documents", "length": 120, "overlap": 20, **questions},
        "split": {"method": "tail", "valid": 0.3, "test": 0.5},
        "model": {"kind": "vector-index"}, "task": {"kind": "index"}, "train": {}, "evaluate": {}, "export": {},
        "serving": {}, "release": {}, "gates": [],
    }  # fmt: skip
    (root / f"pipelines/recipes/{name}.yaml").write_text(yaml.safe_dump(values | changes, sort_keys=False))
    return Paths(name, root)


def run(root: Path, name: str, *which: str) -> None:
    """Stages, all up to the bundle where none is named."""
    for stage in which or ("fetch", "released", "reranker", "chat", "prepare", "train", "evaluate", "export"):
        stages.run(stage, name, root)


def bundle(root: Path, name: str = "library", **options: Any) -> Paths:
    """All of it, to a bundle."""
    embedder(root)
    paths = write(root, name, **options)
    run(root, name)
    return paths
