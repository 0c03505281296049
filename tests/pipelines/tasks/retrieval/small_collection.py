"""A small collection: documents answer a query that have its words and are glad; BM25 sees the words alone."""

import ast
import json
import random
from pathlib import Path
from typing import Any

from base.files import sha256, write_json
from tests.pipelines.tasks.supervised.small_texts import BAD, GOOD, OTHERS

WORDS = OTHERS[:6]


def write_raw(raw: Path, queries: int = 90, **changes: Any) -> None:
    """Documents and queries as fetched. `changes`: of every query."""
    draw = random.Random(4)
    documents, lines = [], []
    for number in range(120):
        words = [*draw.choices(WORDS, k=4), draw.choice(GOOD if number % 2 else BAD)]
        draw.shuffle(words)
        documents.append({"id": f"d{number}", "title": words[0], "text": str(words[1:])})
    for number in range(queries):
        wanted = draw.sample(WORDS, 2)
        text = " ".join([*wanted, *draw.choices(WORDS, k=number % 3)])
        found = [
            each["id"]
            for i, each in enumerate(documents)
            if i % 2 and set(wanted) <= {each["title"], *ast.literal_eval(each["text"])}
        ]
        lines.append({"id": f"q{number}", "text": text, "relevant": str(found)} | changes)
    lines.append({"id": "long", "text": "film " * 40, "relevant": "d1"})
    lines.append({"id": "none", "text": "the film", "relevant": "[]"})
    files = {"documents.jsonl": documents, "queries.jsonl": lines}
    (raw / "files").mkdir(parents=True)
    for name, rows in files.items():
        (raw / "files" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    hashes = {name: {"sha256": sha256(raw / "files" / name)} for name in files}
    write_json(raw / "source.json", {"kind": "file", "files": hashes})


DATA: dict[str, Any] = {
    "kind": "judged",
    "documents": {"rows": {"files": "documents*"}, "title": "title", "printed": True},
    "queries": {"rows": {"files": "queries*"}},
    "query_length": 8,
    "length": 10,
    "candidates": 20,
}
