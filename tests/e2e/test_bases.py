"""A recipe that begins with another recipe's checkpoint, through DVC: what comes first, and what makes what stale."""

from pathlib import Path

import pytest

from base.errors import MetrolineError
from base.files import read_json
from pipelines.line import dvc as line
from pipelines.line.environment import match_git
from tests.e2e.line_copy import copy_project

FIRST = ["fetch@tiny", "prepare@tiny", "train@tiny", "fetch@tuned", "base@tuned", "prepare@tuned", "train@tuned"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tiny` and `tuned`, which begins with it, both short."""
    folder = copy_project(tmp_path / "project")
    tiny = folder / "pipelines/recipes/tiny.yaml"
    text = tiny.read_text().replace("steps: 120", "steps: 4")
    tiny.write_text(text)
    tuned = text.replace("pretrained: {}", "pretrained: {source: {kind: recipe, name: tiny}}")
    tuned = tuned.replace("tokenizer: {kind: bpe, vocabulary: 512}", "tokenizer: {kind: pretrained}")
    begin, end = tuned.index("model:"), tuned.index("task:")
    (folder / "pipelines/recipes/tuned.yaml").write_text(tuned[:begin] + "model: {}\n" + tuned[end:])
    (folder / "params.yaml").write_text(
        "bases: {tuned: tiny}\nreleases: {}\nrerankers: {}\nchats: {}\nrecipes: [tiny, tuned]\n"
    )
    match_git(folder)
    monkeypatch.chdir(folder)
    return folder


def run(upto: str) -> None:
    for entry in line.entries("tuned"):
        if not entry.fresh:
            line.run_stage(entry.address, print)
        if entry.address == upto:
            return


def stale() -> list[str]:
    return [entry.address for entry in line.entries("tuned") if not entry.fresh]


def test_the_other_recipe_is_trained_first_and_makes_this_one_stale(project: Path) -> None:
    found = [entry.address for entry in line.entries("tuned")]
    assert sorted(found[: found.index("train@tuned") + 1]) == sorted(FIRST)
    assert found.index("train@tiny") < found.index("base@tuned") < found.index("prepare@tuned")
    assert [entry.address for entry in line.entries("tiny") if entry.recipe != "tiny"] == []
    run(upto="train@tuned")
    assert not set(stale()) & set(FIRST)
    ours, base = (read_json(project / f"artifacts/{name}/checkpoint/training.json") for name in ("tuned", "tiny"))
    weights = read_json(project / "data/raw/tuned/base.json")["files"]["model.safetensors"]
    assert ours["began_with"] == {"model.safetensors": weights}
    assert "began_with" not in base
    tiny = project / "pipelines/recipes/tiny.yaml"
    tiny.write_text(tiny.read_text().replace("lr: 0.02", "lr: 0.03"))
    assert stale()[:4] == ["train@tiny", "base@tuned", "prepare@tuned", "train@tuned"]
    line.run_stage("train@tiny", print)
    with pytest.raises(line.StageFailed, match="tuned: the checkpoint of tiny that it begins with has changed"):
        line.run_stage("train@tuned", print, force=True)
    run(upto="train@tuned")
    again = read_json(project / "artifacts/tuned/checkpoint/training.json")
    assert again["began_with"] != ours["began_with"]


def test_params_yaml_and_the_recipe_must_agree(project: Path) -> None:
    params = project / "params.yaml"
    for text, message in (
        ("recipes: [tiny, tuned]", r"params\.yaml says that tuned begins with no other recipe \(add `tuned: tiny`"),
        ("bases: {tuned: speeches}\nrecipes: [tiny, tuned]", "begins with speeches .add `tuned: tiny` to its `bases`"),
        ("bases: {tuned: tiny}\nrecipes: [tuned]", "recipe tiny is not in params"),
        ("bases: [tuned]\nrecipes: [tiny, tuned]", "`bases` is no mapping of names"),
    ):
        params.write_text(text)
        with pytest.raises(MetrolineError, match=message) as caught:
            line.entries("tuned")
        assert "\n" not in str(caught.value)
    params.write_text("bases: {tiny: tuned}\nrecipes: [tiny, tuned]")
    with pytest.raises(MetrolineError, match=r"tiny begins with tuned .take `tiny: tuned` out of its `bases`"):
        line.entries("tiny")


def test_recipes_that_begin_with_each_other(project: Path) -> None:
    recipes = project / "pipelines/recipes"
    third = (recipes / "tuned.yaml").read_text().replace("name: tiny", "name: tuned")
    (recipes / "third.yaml").write_text(third)
    (recipes / "tuned.yaml").write_text(third.replace("name: tuned", "name: third"))
    (project / "params.yaml").write_text("bases: {tuned: third, third: tuned}\nrecipes: [third, tuned]\n")
    with pytest.raises(MetrolineError, match="recipes begin with each other: tuned → third → tuned"):
        line.entries("tuned")
