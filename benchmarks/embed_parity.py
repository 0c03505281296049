"""Vectors of recipe `minilm` beside sentence-transformers' of the same weights, on STS-B's test split.

    metroline run minilm
    python -m benchmarks.embed_parity             # needs sentence-transformers

Both forms run as serving runs them, padded by length, 32 texts of a shape at a time, and once more each text alone.
Value: the smallest cosine of any text's float32 vector with the peer's. Accepted: at least 0.99999, Spearman within
0.0005 of the peer's, that of int8 at most 0.005 lower, and all bits alone equal to those in company, of both forms.
"""

import json

import numpy as np

from benchmarks import _embedders
from benchmarks._embedders import Vectors
from benchmarks._report import report, say
from data import golden
from pipelines.tasks.embedding.pairs import Pairs, cosines, spearman
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.graph import ForwardGraph, Prepared
from serving.engines.forward.preparation import Preparation


def own(bundle: ForwardBundle, texts: list[str]) -> tuple[Vectors, int]:
    """Vectors in company, and how many differ from those alone in any bit."""
    prepare, graph = Preparation(bundle), ForwardGraph(bundle.graph, bundle.typed, 1)
    graph.settle([prepare(item.inputs) for item in golden.load(bundle.path, bundle.typed)])
    items = [prepare((text,)) for text in texts]
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for number, item in enumerate(items):
        groups.setdefault(item.shape, []).append(number)
    found: dict[int, Vectors] = {}
    for numbers in groups.values():
        room = graph.room(items[numbers[0]])
        for at in range(0, len(numbers), room):
            part = numbers[at : at + room]
            rows = graph.run([items[number] for number in part])
            found |= {number: np.asarray(row[0], np.float32) for number, row in zip(part, rows, strict=True)}
    differ = sum(_alone(graph, item).tobytes() != found[number].tobytes() for number, item in enumerate(items))
    say(f"{bundle.precision}: batches of {graph.sizes}, {differ} of {len(texts)} differ alone")
    return np.stack([found[number] for number in range(len(texts))]), differ


def _alone(graph: ForwardGraph, item: Prepared) -> Vectors:
    return np.asarray(graph.run([item])[0][0], np.float32)


def main() -> None:
    """Measure, and print the result."""
    if reason := _embedders.missing("sentence_transformers"):
        print(json.dumps({"name": "embed_parity", "skipped": reason}))
        return
    paths = _embedders.paths()
    pairs = Pairs(paths.prepared, "test")
    texts = list(dict.fromkeys(text for pair in pairs.texts for text in pair))
    places = {text: number for number, text in enumerate(texts)}
    both = np.array([[places[one], places[other]] for one, other in pairs.texts])
    theirs = _embedders.torch_peer()(texts)
    made = {name: own(ForwardBundle.load(paths.bundle, name), texts) for name in ("fp32", "int8")}
    vectors = {"peer": theirs} | {name: each[0] for name, each in made.items()}
    scores = {name: spearman(cosines(each[both]), pairs.scores) for name, each in vectors.items()}
    cosine = float((made["fp32"][0].astype(np.float64) * theirs).sum(1).min())
    differ = sum(each[1] for each in made.values())
    report(
        name="embed_parity",
        value=round(cosine, 7),
        unit="min cosine",
        baseline=1.0,
        ratio=round(cosine, 7),
        accept=">= 0.99999; Spearman ± 0.0005; int8 - <= 0.005; bits alone = in company",
        ok=cosine >= 0.99999 and abs(scores["fp32"] - scores["peer"]) <= 0.0005
        and scores["peer"] - scores["int8"] <= 0.005 and not differ,
        texts=len(texts),
        differ_alone=differ,
        int8_cosine=round(float((made["int8"][0].astype(np.float64) * theirs).sum(1).min()), 5),
        **{f"spearman_{name}": round(score, 5) for name, score in scores.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
