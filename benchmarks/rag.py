"""Retrieval over XQuAD's English paragraphs by recipe `xquad-index`: vectors, words, both, and reranked.

    metroline stage train xquad-index             # and what it needs: minilm, minilm-rerank
    python -m benchmarks.rag [--reranked 200]

XQuAD (Artetxe 2020, CC BY-SA 4.0): 1,190 questions, each of one of 240 paragraphs. A question counts when one of the
first k chunks is of its paragraph. The weight of a search by both was chosen on the validation split's questions; the
test split's, which chose nothing, are asked here. `exact`: the share of the ten nearest chunks, by all vectors in
float64, that the table's search gives. Value: hybrid's recall@1; accepted is one point above the better of vectors and
words. The gain has a 95 % interval (paired bootstrap).
"""

import argparse
from pathlib import Path

import numpy as np

from base.errors import MetrolineError
from benchmarks._report import record, report
from data.index.store import MODES
from pipelines.paths import Paths
from pipelines.tasks.index.measure import embedded, exact_recall, quality, ranks
from pipelines.tasks.index.questions import questions
from pipelines.tasks.index.searched import Searched

ROOT = Path(__file__).resolve().parents[1]
NAME = "xquad-index"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reranked", type=int, default=0, help="also rerank what the first so many questions find")
    options = parser.parse_args()
    paths = Paths(NAME, ROOT)
    if not paths.checkpoint.is_dir():
        raise MetrolineError(f"{paths.checkpoint} is missing", hint=f"metroline run {NAME}")
    index, asked = Searched(paths.checkpoint), questions(paths.prepared, "test")
    vectors = embedded(index, asked)
    places = {way: ranks(index, asked, vectors, way) for way in MODES}
    for way, found in places.items():
        record(benchmark="rag", mode=way, questions=len(asked), chunks=len(index.passages), **quality(found))
    if some := asked[: options.reranked]:
        found = ranks(index, some, vectors[: len(some)], "reranked")
        record(benchmark="rag", mode="reranked", questions=len(some), **quality(found))
        record(benchmark="rag", mode="hybrid", questions=len(some), **quality(places["hybrid"][: len(some)]))
    record(benchmark="rag", exact=exact_recall(index, vectors), weight=index.config["store"]["weight"],
           chosen_on=len(questions(paths.prepared, "valid")))  # fmt: skip
    right = {way: found <= 1 for way, found in places.items()}
    single = max((way for way in ("vector", "text")), key=lambda way: right[way].mean())
    gains = right["hybrid"].astype(float) - right[single]
    draws = np.random.default_rng(0).choice(gains, (2000, len(gains))).mean(1)
    both, best = float(right["hybrid"].mean()), float(right[single].mean())
    report(name="rag", value=round(both, 4), unit="recall@1", baseline=round(best, 4), ratio=round(both / best, 4),
           accept="hybrid >= best single + 0.01, of questions that chose nothing", ok=both >= best + 0.01,
           gain_low=round(float(np.quantile(draws, 0.025)), 4),
           gain_high=round(float(np.quantile(draws, 0.975)), 4))  # fmt: skip


if __name__ == "__main__":
    main()
