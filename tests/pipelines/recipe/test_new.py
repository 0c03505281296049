"""What `metroline init` writes; own files that are no text: which count is the task's to say."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from base.errors import MetrolineError
from pipelines.line import stages
from pipelines.recipe.load import RECIPES
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.new import repin
from pipelines.recipe.own.found import TEMPLATES
from pipelines.recipe.schema import Recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / RECIPES).mkdir(parents=True)
    return tmp_path


def table(root: Path, data: dict[str, object], path: str = "own") -> Path:
    recipe = yaml.safe_load((ROOT / RECIPES / "digits.yaml").read_text(encoding="utf-8"))
    recipe |= {"data": data, "source": {"kind": "file", "path": path, "sha256": "0" * 64}}
    (root / RECIPES / "own.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return root / path


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.yaml")), ids=lambda path: path.stem)
def test_init_writes_every_section(template: Path) -> None:
    """DVC tracks each of them, so `metroline run` refuses a recipe that lacks one."""
    sections = re.findall(r"^(\w+):", template.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(Recipe.model_fields.keys() - {"name"})


@pytest.mark.parametrize(
    ("data", "counted"),
    [
        ({"kind": "table", "target": "y"}, {"a.csv", "b.TSV.gz"}),
        ({"kind": "table", "target": "y", "rows": {"form": "csv"}}, {"a.csv", "b.TSV.gz", "c.txt", "d.data", "e.png"}),
        ({"kind": "images"}, {"e.png"}),
    ],
)
def test_files_count_that_the_task_reads(root: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, object],
                                         counted: set[str]) -> None:  # fmt: skip
    monkeypatch.chdir(root)
    folder = table(root, data)
    folder.mkdir()
    for name in ("a.csv", "b.TSV.gz", "c.txt", "d.data", "e.png"):
        (folder / name).write_text(name)
    _, own = repin("own", folder, root)
    assert {file.name for file in own.files} == counted
    stages.run("fetch", "own", root)
    assert {file.name for file in (root / "data/raw/own/files").iterdir()} == counted
    assert load_recipe("own", root).source.sha256 != "0" * 64


def test_a_file_that_the_task_does_not_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    path = table(root, {"kind": "table", "target": "y"}, "own.txt")
    shutil.copyfile(ROOT / "LICENSE", path)
    with pytest.raises(MetrolineError, match=r"own\.txt is none of \.csv, \.tsv"):
        stages.run("fetch", "own", root)
