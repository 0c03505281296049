"""`metroline trace`: a release by any of its names, a request by its id; of damaged files nothing is said."""

import json
from pathlib import Path

import pytest

from base import manifest
from base.errors import MetrolineError
from base.segments import Log
from pipelines.commands.trace import show
from pipelines.paths import Paths
from pipelines.recipe.load import load
from pipelines.release.lineage import lineage, tag_of, text
from pipelines.release.stage import release
from pipelines.release.store import Pointers, Store

ROOT = Path(__file__).resolve().parents[3]
PRIMARY = {"metric": "test.accuracy", "better": "higher", "floor": "baselines.floor_accuracy"}


def released(root, content, name="digits"):
    """Release a bundle with real files and manifest, and a made-up graph and numbers. Returns its tag."""
    recipe = load(name, ROOT)
    paths = Paths(name, root)
    paths.bundle.mkdir(parents=True, exist_ok=True)
    (paths.bundle / "model.onnx").write_text(content)
    test = {"accuracy": 0.985, "gain_low": 0.1, "exact_recall": 1.0, "recall_at_5": 1.0}
    metrics = {"test": test, "baselines": {"floor_accuracy": 0.1}, "primary": PRIMARY}
    values = {"name": name, "licence": recipe.licence, "data_hash": "d" * 64, "git_commit": "c" * 40,
              "recipe": recipe.model_dump(mode="json"), "metrics": metrics,
              "parity": {"onnx": {"max_abs": 1e-6}}}  # fmt: skip
    manifest.write(paths.bundle, values)
    release(recipe, paths)
    return Store.of(root).pointers(name).live


@pytest.fixture
def store(store_home, tmp_path):
    made = Store.of(tmp_path)
    assert made.home == store_home
    return made


def test_by_name_version_and_its_beginning(store, tmp_path):
    first, second = released(tmp_path, "one"), released(tmp_path, "two")
    assert tag_of("digits", store) == second
    for said in (first, first.partition(":")[2], first[: len("digits:") + 8]):
        assert tag_of(said, store) == first
    assert tag_of("req-1", store) is None
    assert tag_of("", store) is None
    alike = store.folder(first).with_name(first.partition(":")[2][:4] + "zzzz")
    alike.mkdir()
    (alike / "model.yaml").touch()
    with pytest.raises(MetrolineError, match="write more of it"):
        tag_of(first[: len("digits:") + 4], store)


def test_says_where_it_came_from(store, tmp_path):
    first, second = released(tmp_path, "one"), released(tmp_path, "two")
    assert [lineage(tag, store)["state"] for tag in (first, second)] == ["previous", "live"]
    store.point("digits", Pointers(live=second, candidate=first))
    assert [lineage(tag, store)["state"] for tag in (first, second)] == ["candidate", "live"]
    found = lineage(second, store)
    assert found["data"]["source"]["sha256"] == load("digits", ROOT).source.sha256
    assert [(each["gate"], each["passed"]) for each in found["gates"]] == [
        ("test.accuracy > baselines.floor_accuracy", True), ("test.accuracy >= 0.97", True),
    ]  # fmt: skip
    assert found["primary"]["value"] == 0.985
    assert found["files"].keys() == {"model.onnx"}
    assert found["parents"] == []
    said = text(found)
    for part in (second + " (live)", "c" * 40, "d" * 64, "model mlp, seed 1", "passed  test.accuracy >= 0.97", "1e-06"):
        assert part in said


def test_a_release_inside_is_a_parent(store, tmp_path):
    inside = tmp_path / "artifacts/speeches-index/bundle/embedder"
    inside.mkdir(parents=True)
    (inside / "model.onnx").write_text("vectors")
    manifest.write(inside, {"released": {"name": "minilm", "version": "0123456789ab"}})
    found = lineage(released(tmp_path, "table", "speeches-index"), store)
    assert found["parents"] == [{"role": "embedder", "release": "minilm:0123456789ab"}]


def test_parents(store, tmp_path):
    tag = released(tmp_path, "tuned", "banking77-minilm")
    (parent,) = lineage(tag, store)["parents"]
    assert parent["role"] == "first weights"
    assert "parent    role first weights" in text(lineage(tag, store))


def test_of_damaged_files_nothing(store, tmp_path):
    tag = released(tmp_path, "one")
    (store.folder(tag) / "model.onnx").write_text("other")
    with pytest.raises(MetrolineError, match=r"model\.onnx"):
        lineage(tag, store)


def test_a_request(store, tmp_path, capsys, monkeypatch):
    tag, folder = released(tmp_path, "one"), tmp_path / "kept"
    head = {"model": "digits", "version": tag.partition(":")[2], "caller": "", "time": 0.0}
    with Log(folder) as log:
        for record in ({"kind": "sample", "id": "a"}, {"kind": "feedback", "id": "a", "label": "1"},
                       {"kind": "feedback", "id": "gone", "label": "1"}):  # fmt: skip
            version = {"version": "0" * 12} if record["id"] == "gone" else {}
            log.append(json.dumps({**head, **record, **version}).encode())
    show("a", folder, tmp_path, as_json=False)
    told = capsys.readouterr().out
    assert told.startswith("request   a, 1970-01-01 00:00:00 UTC, 1 times judged\nrelease   digits:")
    with Log(folder) as log:  # what a redaction may leave
        log.append(json.dumps({**head, "id": "timeless", "kind": "sample", "time": None}).encode())
        log.append(json.dumps({"id": "nameless", "kind": "sample"}).encode())
    show("timeless", folder, tmp_path, as_json=False)
    assert capsys.readouterr().out.startswith("request   timeless, time unknown, 0 times judged")
    with pytest.raises(MetrolineError, match=r"nameless is no release in .*, and no request that was kept"):
        show("nameless", folder, tmp_path, as_json=False)
    monkeypatch.setenv("METROLINE_FEEDBACK", str(folder))
    show("a", None, tmp_path, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["release"], found["request"]["sampled"]) == (tag, True)
    with pytest.raises(MetrolineError, match="which is no longer in the store"):
        show("gone", None, tmp_path, as_json=False)
    with pytest.raises(MetrolineError, match=r"b is no release in .*, and no request that was kept"):
        show("b", None, tmp_path, as_json=False)
