"""Which of the user's own files a recipe takes: those that its kind of data reads."""

from pathlib import Path
from typing import Any

import pytest

from base.files import read_json
from data.fetch.sources import pin
from pipelines.line.stages import STAGES
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe

FILES = ("a.txt", "b.csv", "c.tsv", "d.jsonl", "e.parquet", "f.png", "g.JPG", "h.data", "i.csv.gz")
ROWS = {"kind": "table", "target": "y"}


@pytest.mark.parametrize(
    ("task", "data", "taken"),
    [
        ("language-modelling", {}, ["a.txt", "d.jsonl", "e.parquet"]),
        ("classification", ROWS, ["b.csv", "c.tsv", "d.jsonl", "e.parquet", "i.csv.gz"]),
        ("regression", {"kind": "text"}, ["b.csv", "c.tsv", "d.jsonl", "e.parquet", "i.csv.gz"]),
        ("classification", ROWS | {"rows": {"form": "csv"}}, list(FILES)),
        ("classification", {"kind": "images"}, ["f.png", "g.JPG"]),
    ],
)
def test_fetch_takes_what_the_task_reads(tmp_path: Path, task: str, data: dict[str, Any], taken: list[str]) -> None:
    for name in FILES:
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / name).write_text(name)
    values: dict[str, Any] = {"name": "mine", "description": "", "licence": "", "task": {"kind": task}, "data": data}
    values |= {} if task == "language-modelling" else {"model": {"kind": "mlp"}}
    source = {"kind": "file", "path": "own", "sha256": "0" * 64}
    suffixes = Recipe.of(values | {"source": source}).suffixes
    recipe = Recipe.of(values | {"source": pin(tmp_path / "own", suffixes=suffixes).model_dump()})
    paths = Paths("mine", tmp_path)
    STAGES["fetch"].function(recipe, paths)
    assert sorted(read_json(paths.raw / "source.json")["files"]) == sorted(taken)
