"""The shipped example corpus is what its recipes pin, holds all three formats, and makes a usable corpus."""

from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from data.fetch.own_files import own_files
from data.fetch.sources import Source, fetch
from data.split import SplitConfig
from data.text.clean import CleanConfig
from data.text.documents import DocumentsConfig
from data.text.prepare import prepare
from data.text.shards import Shards
from data.text.tokenizer import TokenizerConfig

ROOT = Path(__file__).parents[2]


def test_small_and_in_three_formats():
    files = own_files(ROOT / "data/examples/speeches", "**/*", name="test").files
    assert Counter(path.suffix for path in files) == {".txt": 4, ".jsonl": 1, ".parquet": 1}
    assert sum(path.stat().st_size for path in files) < 300_000


@pytest.mark.parametrize(("recipe", "documents"), [("tiny", 172), ("own-text", 376)])
def test_recipes_prepare_it(recipe, documents, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = yaml.safe_load((ROOT / f"pipelines/recipes/{recipe}.yaml").read_text())
    fetch(TypeAdapter(Source).validate_python(values["source"]), tmp_path / "raw", name=recipe)
    stats = prepare(
        tmp_path / "raw",
        tmp_path / "out",
        documents=DocumentsConfig.model_validate(values["data"]["documents"]),
        clean=CleanConfig.model_validate(values["data"]["clean"]),
        split=SplitConfig.model_validate(values["split"]),
        tokenizer=TokenizerConfig.model_validate(values["data"]["tokenizer"]),
    )
    assert stats["documents"]["read"] == documents
    for split in ("train", "valid", "test"):
        assert Shards(tmp_path / "out", split).total_tokens > 1000
    assert all(
        {"year", "president", "decade"} <= set(entry["meta"]) for entry in Shards(tmp_path / "out", "train").documents()
    )
