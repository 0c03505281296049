"""Retrieval over XQuAD's English paragraphs: every question is asked of an index of all 240 by vectors, words and both.

    metroline run minilm
    python -m benchmarks.rag

XQuAD (Artetxe 2020, CC BY-SA 4.0): 1,190 questions, each of a paragraph that answers it. The index is made by the line,
in a project of its own. A question counts when one of the first k chunks is of its paragraph. `exact`: the share of the
ten nearest chunks, by all vectors in float64, that the table's search gives. The value is hybrid's recall@1; accepted
is at least one point above the better of vectors and words.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from base.files import read_json
from benchmarks._report import record, report, say
from data.fetch.sources import HttpsSource, fetch, pin
from data.index.store import MODES
from pipelines.line import stages
from pipelines.paths import Paths
from pipelines.tasks.index.config import DocumentsData
from pipelines.tasks.index.measure import embedded, exact_recall, quality
from pipelines.tasks.index.questions import Question
from pipelines.tasks.index.searched import Searched
from pipelines.tasks.index.threshold import best

ROOT = Path(__file__).resolve().parents[1]
XQUAD = HttpsSource.model_validate({
    "kind": "https",
    "files": [{
        "url": "https://raw.githubusercontent.com/google-deepmind/xquad/master/xquad.en.json",
        "sha256": "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
    }],
})  # fmt: skip
NAME, EMBEDDER = "xquad", "minilm"


def project(root: Path) -> list[dict[str, Any]]:
    """A project with the released embedder, XQuAD's paragraphs as files, and the recipe. Returns the questions."""
    fetch(XQUAD, root / "raw", name=NAME, mirror=_mirror())
    found = read_json(root / "raw/files/xquad.en.json")["data"]
    questions, folder = [], root / "documents"
    folder.mkdir()
    for article in found:
        for number, paragraph in enumerate(article["paragraphs"]):
            name = f"{article['title']}-{number}.txt"
            (folder / name).write_text(paragraph["context"], encoding="utf-8")
            questions += [{"question": each["question"], "document": name, "answer": each["answers"][0]["text"]}
                          for each in paragraph["qas"]]  # fmt: skip
    (folder / "questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in questions), encoding="utf-8")
    data = {"kind": "documents", "questions": "questions.jsonl"}
    values = {
        "description": "XQuAD's English paragraphs", "licence": "CC BY-SA 4.0",
        "source": pin(folder, suffixes=DocumentsData.model_validate(data).suffixes).model_dump(mode="json"),
        "pretrained": {"source": {"kind": "release", "name": EMBEDDER}}, "data": data,
        "split": {"valid": 0.2, "test": 0.7}, "model": {"kind": "vector-index"}, "task": {"kind": "index"},
        "train": {}, "evaluate": {}, "export": {}, "serving": {}, "release": {}, "gates": [],
    }  # fmt: skip
    (root / "pipelines/recipes").mkdir(parents=True)
    (root / f"pipelines/recipes/{NAME}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (root / f"pipelines/recipes/{EMBEDDER}.yaml").write_bytes(
        (ROOT / f"pipelines/recipes/{EMBEDDER}.yaml").read_bytes()
    )
    (root / "artifacts").mkdir()
    (root / f"artifacts/{EMBEDDER}").symlink_to(ROOT / f"artifacts/{EMBEDDER}")
    for stage in ("fetch", "released", "prepare", "train", "evaluate", "export"):
        stages.run(stage, NAME, root)
    return questions


def _mirror() -> Path | None:
    variable = os.environ.get("METROLINE_MIRROR")
    return Path(variable) if variable else None


def retrieval(paths: Paths, questions: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What each way of searching finds, over all questions."""
    index = Searched(paths.checkpoint)
    asked = [Question(each["question"], each["document"]) for each in questions]
    vectors = embedded(index, asked)
    found = {mode: dict(quality(index, asked, vectors, mode)) for mode in MODES}
    for mode, values in found.items():
        record(benchmark="rag", mode=mode, questions=len(asked), chunks=len(index.passages), **values)
    whole, without = best(asked, vectors, index.vectors, index.passages)
    threshold = index.config["threshold"]
    record(benchmark="rag", exact=exact_recall(index, vectors), threshold=threshold,
           answered=float((whole >= threshold).mean()), refused=float((without < threshold).mean()),
           percentiles_of_best_cosine=np.percentile(whole, [1, 5, 10, 50]).round(3).tolist())  # fmt: skip
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        questions = project(root)
        say(f"{len(questions):,} questions")
        found = retrieval(Paths(NAME, root), questions)
    both = found["hybrid"]["recall_at_1"]
    single = max(found["vector"]["recall_at_1"], found["text"]["recall_at_1"])
    report(name="rag", value=round(both, 4), unit="recall@1", baseline=round(single, 4), ratio=round(both / single, 4),
           accept="hybrid >= best single + 0.01", ok=both >= single + 0.01)  # fmt: skip


if __name__ == "__main__":
    main()
