"""Samples and feedback → rows of the recipe's columns; what has no truth or no input is counted."""

import json
import shutil
from pathlib import Path

import pytest

from base.errors import MetrolineError
from base.segments import Log
from pipelines.commands.collect import collect, folder_of

ROOT = Path(__file__).resolve().parents[3]


def sample(name, *inputs, model="digits"):
    return {"kind": "sample", "id": name, "model": model, "inputs": list(inputs)}


def said(name, model="digits", **values):
    return {"kind": "feedback", "id": name, "model": model, "item": 0, **values}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pipelines/recipes").mkdir(parents=True)
    for name in ("digits", "trec", "mnist-mlp"):
        shutil.copy(ROOT / f"pipelines/recipes/{name}.yaml", tmp_path / "pipelines/recipes")
    return tmp_path


def write(folder, *records):
    with Log(folder) as log:
        for record in records:
            log.append(json.dumps(record).encode())
    return folder


def rows(found):
    return [json.loads(line) for line in found.path.read_text().splitlines()]


def test_rows_with_their_truth(project):
    folder = write(
        project / "kept",
        said("b", label="2"), sample("b", {"p": 1}, {"p": 2}), said("b", item=1, correction="5"),
        sample("a", {"p": 0}), said("a", label="3"), said("a", label="4"), sample("c", {"p": 9}), said("c", score=1),
        said("d", label="1"), sample("e", {"p": 1}, model="other"), said("e", model="other", label="1"),
    )  # fmt: skip
    found = collect("digits", folder, project)
    assert rows(found) == [{"p": 0, "digit": "4"}, {"p": 1, "digit": "2"}, {"p": 2, "digit": "5"}]
    assert found.path == project / "data/collected/digits/rows.jsonl"
    assert {why: count for why, count in found.without.items() if count} == {
        "sampled, without a truth": 1, "feedback without a label or correction": 1,
        "feedback on what was not sampled": 1,
    }  # fmt: skip
    before = found.path.read_bytes()
    assert collect("digits", folder, project).path.read_bytes() == before


def test_the_latest_feedback_of_the_caller_who_asked(project):
    """Whatever the order of the workers' segments, and of others' feedback on the same request."""
    folder = write(
        project / "kept",
        sample("a", {"p": 0}) | {"caller": "one"}, said("a", label="3", time=20.0, caller="one"),
        said("a", label="4", time=10.0, caller="one"), said("a", label="5", time=30.0, caller="two"),
    )  # fmt: skip
    found = collect("digits", folder, project)
    assert rows(found) == [{"p": 0, "digit": "3"}]
    assert found.without["feedback on what was not sampled"] == 1


def test_records_without_what_redaction_took(project):
    nameless, kindless = sample("a", {"p": 1}), said("b", label="2")
    del nameless["id"], kindless["kind"]
    timeless = {**said("c", label="3"), "time": None}
    found = collect("digits", write(project / "kept", nameless, kindless, timeless, sample("c", {"p": 3})), project)
    assert rows(found) == [{"p": 3, "digit": "3"}]
    assert found.without["records whose id or kind was redacted"] == 2


def test_texts(project):
    folder = write(project / "kept", sample("a", "who?", model="trec"), said("a", model="trec", label="3"))
    assert rows(collect("trec", folder, project)) == [{"text": "who?", "label": "3"}]


def test_nothing_to_collect(project, monkeypatch):
    monkeypatch.delenv("METROLINE_FEEDBACK", raising=False)
    with pytest.raises(MetrolineError, match="there are no records"):
        collect("digits", write(project / "none"), project)
    with pytest.raises(MetrolineError, match=r"1 feedback on what was not sampled.*METROLINE_SAMPLE"):
        collect("digits", write(project / "kept", said("a", label="1")), project)
    folder = write(project / "images", sample("a", "AA==", model="mnist-mlp"), said("a", "mnist-mlp", label="1"))
    with pytest.raises(MetrolineError, match="rows are collected of tables and labelled texts, not of images"):
        collect("mnist-mlp", folder, project)
    with pytest.raises(MetrolineError, match="no recipe 'digit'"):
        collect("digit", project / "kept", project)
    with pytest.raises(MetrolineError, match="where are the endpoint's records"):
        folder_of(None)
    with pytest.raises(MetrolineError, match="there is no folder"):
        folder_of(project / "nowhere")
    monkeypatch.setenv("METROLINE_FEEDBACK", str(project / "kept"))
    assert folder_of(None) == project / "kept"
    assert not (project / "data").exists()
