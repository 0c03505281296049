"""An index from files to a bundle, stage by stage: what is embedded again, refused, left by a build that is killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from base.errors import MetrolineError
from base.files import read_json, sha256
from base.manifest import verify
from data.index import golden
from data.index.documents import of_bytes
from data.index.passages import Passages
from data.index.store import FOLDER, MODES, StoreConfig
from data.index.stores import opened
from pipelines.exporting.stage import export
from pipelines.recipe import gates
from pipelines.recipe.consistency import problems
from pipelines.recipe.load import load
from pipelines.tasks.index.embedder import Embedder
from pipelines.tasks.index.searched import Searched
from tests import indexes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a released embedder, and nothing of an index run."""
    folder = tmp_path_factory.mktemp("project")
    indexes.embedder(folder)
    return folder


def test_vectors_are_the_embedders_and_the_table_finds_all_of_them(library: Any) -> None:
    index = Searched(library.checkpoint)
    assert len(index.vectors) == len(index.passages) == len(index.store)
    for number, vector in enumerate(index.vectors):
        text = index.passages.passage(number).embedded
        np.testing.assert_array_equal(index.embedder.document(text), vector)
        (first, *_) = index.search(text, vector, 3, "vector")
        assert first.score == pytest.approx(1, abs=1e-5)
        assert (
            index.exact(vector, 3) == sorted(range(len(index.vectors)), key=lambda i: -(index.vectors[i] @ vector))[:3]
        )
    heading = [index.passages.passage(number).embedded for number in range(len(index.passages))]
    assert any(each.startswith("Install\n## On Linux") for each in heading)


def test_the_bundle_is_whole_and_answers_its_golden_queries(library: Any) -> None:
    manifest = verify(library.bundle)
    assert manifest["model"]["engine"] == "retrieve"
    queries = golden.load(library.bundle)
    assert {each.mode for each in queries} == set(MODES)
    index = Searched(library.checkpoint)
    store = opened(library.bundle / FOLDER, StoreConfig(**index.config["store"]))
    for each in queries:
        hits = store.search(index.embedder.query(each.query), each.query, 5, each.mode)
        found = [vars(index.passages.passage(hit.number)) | {"score": hit.score} for hit in hits]
        assert golden.compare(each, found) is None
        if len(found) > 1 and found[1]["score"] < 0.9 * found[0]["score"]:
            assert "expected" in str(golden.compare(each, found[1:]))


def test_what_is_measured(library: Any) -> None:
    metrics = read_json(library.metrics)
    assert metrics["test"]["exact_recall"] == 1
    assert metrics["test"]["questions"] == 4
    assert metrics["baselines"]["text_recall_at_1"] > metrics["baselines"]["random_recall_at_1"] > 0
    assert gates.floor(metrics) == "test.recall_at_1 > baselines.random_recall_at_1"
    card = (library.bundle / "README.md").read_text()
    assert "4 people's questions of the test split" in card
    assert "13 chunks of 4 documents" in card


def test_only_new_chunks_are_embedded(root: Path) -> None:
    paths = indexes.write(root, "grows")
    indexes.run(root, "grows", "fetch", "released", "prepare", "train")
    before = read_json(paths.checkpoint / "training.json")
    vectors = load_file(paths.checkpoint / "model.safetensors")["vectors"]
    assert before["embedded"] == len({Passages(paths.checkpoint).passage(i).embedded for i in range(len(vectors))})
    indexes.run(root, "grows", "train")
    assert read_json(paths.checkpoint / "training.json")["embedded"] == 0
    np.testing.assert_array_equal(load_file(paths.checkpoint / "model.safetensors")["vectors"], vectors)

    files = indexes.DOCUMENTS | {"new.md": b"# New\n\nA new page."}
    del files["speech.txt"]
    shutil.rmtree(root / "documents-grows")
    indexes.write(root, "grows", files)
    indexes.run(root, "grows", "fetch", "released", "prepare", "train")
    assert read_json(paths.checkpoint / "training.json")["embedded"] == 1
    names = [source.name for source in Passages(paths.checkpoint).sources]
    assert "new.md" in names
    assert "speech.txt" not in names


def test_another_release_of_the_embedder_embeds_all_again(tmp_path: Path) -> None:
    indexes.embedder(tmp_path)
    paths = indexes.write(tmp_path)
    indexes.run(tmp_path, "library", "fetch", "released", "prepare", "train")
    shutil.rmtree(tmp_path / "artifacts/bytes")
    indexes.embedder(tmp_path, seed=5)
    with pytest.raises(MetrolineError, match="the release of bytes that it begins with has changed"):
        indexes.run(tmp_path, "library", "train")
    indexes.run(tmp_path, "library", "released")
    with pytest.raises(MetrolineError, match="was prepared for another embedder"):
        indexes.run(tmp_path, "library", "train")
    indexes.run(tmp_path, "library", "prepare", "train")
    assert read_json(paths.checkpoint / "training.json")["embedded"] > 5
    (tmp_path / "artifacts/bytes/release.json").unlink()
    with pytest.raises(MetrolineError, match="bytes, which it needs, is not released"):
        indexes.run(tmp_path, "library", "released")


def test_a_build_that_is_killed_leaves_the_old_index(root: Path) -> None:
    paths = indexes.write(root, "killed")
    indexes.run(root, "killed")
    whole = {path: sha256(path) for path in sorted(paths.artifacts.rglob("*")) if path.is_file()}
    many = indexes.DOCUMENTS | {f"{n}.txt": f"Page {n} of many, with words of its own.".encode() for n in range(3000)}
    indexes.write(root, "killed", many)
    indexes.run(root, "killed", "fetch", "released", "prepare")
    call = f"stages.run('train', 'killed', Path({str(root)!r}))"
    code = f"from pathlib import Path; from pipelines.line import stages; {call}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(paths.artifacts.glob(".checkpoint.*/documents.bin")) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(paths.artifacts.glob(".checkpoint.*"))
    assert {path: sha256(path) for path in whole} == whole
    verify(paths.bundle)
    indexes.run(root, "killed", "train", "evaluate", "export")
    assert not list(paths.artifacts.glob(".checkpoint.*"))
    assert read_json(paths.metrics)["test"]["documents"] == 3004


CONTRADICTIONS = {
    "training": ({"train": {"steps": 5}}, "train: an index is built and not trained"),
    "no embedder": ({"pretrained": {}}, "pretrained.source: an index needs a released embedder"),
    "another model": ({"model": {"kind": "mlp"}}, "model.kind: an index is a vector-index"),
    "overlap": ({"data": {"kind": "documents", "length": 20, "overlap": 16}}, "data.overlap: at most half"),
    "groups": ({"split": {"method": "group", "group": "a"}}, "split.method: questions are shared out by hash or tail"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_recipes_that_contradict_themselves(root: Path, case: str) -> None:
    changes, message = CONTRADICTIONS[case]
    indexes.write(root, "wrong", **changes)
    with pytest.raises(MetrolineError, match=message):
        load("wrong", root)
    indexes.write(root, "wrong")
    assert not list(problems(load("wrong", root)))


BAD_DATA: dict[str, tuple[dict[str, bytes], str]] = {
    "one chunk": ({"a.txt": b"Short."}, "1 chunk in all the documents"),
    "another encoding": ({"a.txt": b"caf\xe9", "b.txt": b"b"}, r"a\.txt: not UTF-8 at byte 3"),
    "no row": ({"a.txt": b"A.", "b.md": b"# B", "questions.jsonl": b"[]\n"}, r"questions\.jsonl:1: a row is an object"),
    "no document": (
        {"a.txt": b"A.", "b.md": b"# B", "questions.jsonl": b'{"question": "A?", "document": "a.tx"}'},
        r"questions\.jsonl:1: no document 'a\.tx' .did you mean a\.txt",
    ),
    "one row, whatever lines its text has": (
        {"a.txt": b"A.", "b.md": b"# B", "questions.jsonl": '{"question": "A\u2028B\x85?", "document": "a"}'.encode()},
        r"questions\.jsonl:1: no document 'a'",
    ),
    "an empty question": (
        {"a.txt": b"A.", "b.md": b"# B", "questions.jsonl": b'{"question": " ", "document": "a.txt"}'},
        "the question is empty",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_documents_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    files, message = BAD_DATA[case]
    indexes.embedder(tmp_path)
    data = {"kind": "documents", "questions": "questions.jsonl" if "questions.jsonl" in files else None}
    indexes.write(tmp_path, "library", files, data=data)
    with pytest.raises(MetrolineError, match=message):
        indexes.run(tmp_path, "library", "fetch", "released", "prepare")


def test_a_model_that_is_no_embedder(tmp_path: Path) -> None:
    from tests.serving import forward_bundles

    folder = forward_bundles.texts(tmp_path / "mood")
    with pytest.raises(MetrolineError, match="makes no vector of a text"):
        Embedder(folder)


def test_a_chunk_of_html_is_a_range_of_its_text(library: Any) -> None:
    passages = Passages(library.bundle)
    found = [passages.passage(number) for number in range(len(passages))]
    text = of_bytes("rules.html", indexes.DOCUMENTS["rules.html"]).text.encode()
    assert {text[each.start : each.end].decode() == each.text for each in found if each.document == "rules.html"} == {
        True
    }


def test_export_refuses_numbers_of_another_index(library: Any, tmp_path: Path) -> None:
    copy = type(library)("library", tmp_path)
    shutil.copytree(library.root, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(copy.bundle)
    (copy.evaluation / "checkpoint.json").write_text('{"sha256": "0"}')
    with pytest.raises(MetrolineError, match="is of another checkpoint"):
        export(load("library", tmp_path), copy)


def test_many_chunks_are_searched_approximately_and_the_loss_is_measured(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = opened(tmp_path / "table", StoreConfig(approximate_from=1000), width=16)
    made.add(range(2000), vectors, [f"text {number}" for number in range(2000)])
    made.finish()
    recalls: list[float] = []
    for refine in (1, 20):
        store, found = opened(tmp_path / "table", StoreConfig(probes=44, refine=refine)), 0
        for place in range(0, 2000, 40):
            nearest = set(np.argsort(-(vectors @ vectors[place]))[:10].tolist())
            found += len(nearest & {hit.number for hit in store.search(vectors[place], "", 10, "vector")})
        recalls.append(found / 500)
    assert recalls[0] < recalls[1], recalls  # how the parts are cut is drawn anew each time
    assert recalls[1] > 0.8, recalls
    assert store.search(None, "text 1234", 1, "text")[0].number == 1234
