"""An index with a reranker: in its checkpoint and bundle by hash, measured, and found again when it changes."""

from pathlib import Path
from typing import Any

import pytest

from base.errors import MetrolineError
from base.files import read_json
from base.manifest import verify
from data.index.store import Hit
from pipelines.release.lineage import _parents
from pipelines.tasks.index.questions import questions
from pipelines.tasks.index.searched import Searched
from pipelines.tasks.index.threshold import best
from pipelines.tasks.index.weight import WEIGHTS
from tests import indexes


def test_it_travels_in_the_bundle_and_is_named_by_its_release(shelf: Any) -> None:
    manifest = verify(shelf.bundle)
    assert "reranker/manifest.json" in manifest["files"]
    release = read_json(shelf.root / "artifacts/pairs/release.json")["tag"]
    named = {each["role"]: each["release"] for each in _parents(manifest["recipe"], shelf.bundle, None)}  # type: ignore[arg-type]
    assert named["reranker"] == release
    assert read_json(shelf.raw / "reranker.json") == {"recipe": "pairs", "release": release}
    assert len(read_json(shelf.checkpoint / "training.json")["reranker"]) == 64


def test_every_way_of_searching_is_measured(shelf: Any, library: Any) -> None:
    metrics = read_json(shelf.metrics)
    for way in ("vector", "text", "hybrid"):
        assert 0 <= metrics["baselines"][f"{way}_recall_at_1"] <= metrics["baselines"][f"{way}_recall_at_5"] <= 1
    assert 0 <= metrics["test"]["recall_at_1"] <= 1
    assert "hybrid_recall_at_1" not in read_json(library.metrics)["baselines"]
    index = Searched(shelf.checkpoint)
    assert index.way == "reranked"
    assert "both, reranked" in (shelf.bundle / "README.md").read_text()


def test_the_threshold_is_what_valid_questions_have_by_the_reranker(shelf: Any) -> None:
    index, asked = Searched(shelf.checkpoint), questions(shelf.prepared, "valid")
    assert asked
    vectors = [index.embedder.query(each.text) for each in asked]
    whole, without = best(index, asked, vectors)
    assert index.config["threshold"] == pytest.approx(sorted(whole)[0], abs=0.1)
    for question, vector, most, rest in zip(asked, vectors, whole, without, strict=True):
        hits = index.search(question.text, vector, 100, "reranked")
        assert most == hits[0].score
        others = [hit.score for hit in hits if index.documents[hit.number] != question.document]
        assert rest >= max(others, default=0)


def test_the_weight_is_chosen_on_valid(shelf: Any) -> None:
    assert Searched(shelf.checkpoint).config["store"]["weight"] in WEIGHTS


def test_texts_longer_than_it_reads_count_by_their_best_part(shelf: Any) -> None:
    reranker = Searched(shelf.checkpoint).reranker
    assert reranker
    texts = ["ferry " * 9, "of " * 19]
    (both,) = reranker.scores("ferry", ["".join(texts)])
    assert both == pytest.approx(max(reranker.scores("ferry", texts)), abs=0.1)
    assert isinstance(Searched(shelf.checkpoint).reranked("ferry", [Hit(0, 0.1)])[0].score, float)


def test_another_release_or_none(tmp_path: Path) -> None:
    indexes.embedder(tmp_path)
    indexes.write(tmp_path, task={"kind": "index", "reranker": "pairs"})
    with pytest.raises(MetrolineError, match="no recipe 'pairs'"):
        indexes.run(tmp_path, "library", "fetch", "released", "reranker")
    indexes.reranker(tmp_path)
    indexes.run(tmp_path, "library", "released", "prepare")
    with pytest.raises(MetrolineError, match=r"reranker\.json is missing"):
        indexes.run(tmp_path, "library", "train")
    indexes.run(tmp_path, "library", "reranker")
    release = tmp_path / "artifacts/pairs/release.json"
    release.write_text(release.read_text().replace('"tag": "pairs:', '"tag": "pairs:0'))
    with pytest.raises(MetrolineError, match="the release of pairs that it uses has changed"):
        indexes.run(tmp_path, "library", "train")
    release.unlink()
    with pytest.raises(MetrolineError, match="pairs, which it needs, is not released"):
        indexes.run(tmp_path, "library", "reranker")


def test_an_embedder_is_no_reranker(tmp_path: Path) -> None:
    indexes.embedder(tmp_path)
    indexes.write(tmp_path, task={"kind": "index", "reranker": "bytes"})
    with pytest.raises(MetrolineError, match="ranks no documents"):
        indexes.run(tmp_path, "library", "fetch", "released", "reranker", "prepare", "train")
