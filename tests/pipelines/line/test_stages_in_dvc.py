"""dvc.yaml and params.yaml against the code: every recipe has its stages, every stage depends on what it runs."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.line.dvc import check_recipe
from pipelines.line.stages import STAGES
from pipelines.recipe import code, kinds
from pipelines.recipe.load import load, names
from pipelines.recipe.schema import Recipe
from pipelines.tasks.interface import ROLES

ROOT = Path(__file__).resolve().parents[3]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES_YAML = {name: stage for name, stage in DVC.items() if name != "code"}


def test_the_stages_are_those_of_the_code():
    assert list(STAGES_YAML) == list(STAGES) == list(code.STAGES)
    for name, stage in STAGES_YAML.items():
        assert stage["do"]["cmd"] == f"python -m pipelines.commands.cli stage {name} {item(name)}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_hash_of_its_code(stage):
    params = [part for part in STAGES_YAML[stage]["do"]["params"] if code.FILE.as_posix() in part]
    assert params == [{code.FILE.as_posix(): [f"{stage}.{item(stage)}"]}]


def item(stage: str) -> str:
    """The recipe's name in a stage of dvc.yaml; in some it comes with the one that it begins with or uses."""
    return "${key}" if stage in ("base", "released", *ROLES) else "${item}"


def test_the_hashes_are_made_anew_when_any_file_changes_that_is_in_one():
    deps = DVC["code"]["deps"]
    recipes = [load(name, ROOT) for name in names(ROOT)]
    files = {file for recipe in recipes for file in code.all_files(recipe.task.kind, recipe.model.kind, ROOT)}
    missing = {file.as_posix() for file in files if not any(file.is_relative_to(dep) for dep in deps)}
    missing -= {name for name in missing if not _has_code(name)}
    assert not missing, "stage code: add to its deps in dvc.yaml"
    assert not any(dep == "data" or dep.startswith(("data/raw", "data/prepared", "serving")) for dep in deps)


@pytest.mark.parametrize(
    ("stage", "there", "not_there"),
    [
        ("fetch", "data/fetch/sources.py", "data/text/prepare.py"),
        ("prepare", "data/text/dedup.py", "models/decoder/model.py"),
        ("train", "models/decoder/model.py", "data/text/dedup.py"),
        ("train", "pipelines/training/loop.py", "pipelines/tasks/language_modelling/evaluate.py"),
        ("evaluate", "pipelines/tasks/language_modelling/scoring.py", "pipelines/training/loop.py"),
        ("export", "pipelines/exporting/quantize/int8.py", "pipelines/training/loop.py"),
        ("release", "pipelines/recipe/gates.py", "pipelines/exporting/stage.py"),
    ],
)
def test_what_a_stage_of_a_decoder_runs(stage, there, not_there):
    files = {file.as_posix() for file in code.files(stage, "language-modelling", "decoder", ROOT)}
    assert there in files
    assert not_there not in files
    assert not any(file.startswith("serving") for file in files)


def _has_code(path: str) -> bool:
    import ast

    tree = ast.parse((ROOT / path).read_text())
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in tree.body)


def sections(stage: str) -> set[str]:
    params = STAGES_YAML[stage]["do"]["params"]
    return {section for part in params for section in part.get(f"pipelines/recipes/{item(stage)}.yaml", ())}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_sections_that_its_code_reads(stage):
    """Else an edit, such as of data.flip, which only training reads, would change nothing."""
    read = re.compile(rf"\brecipe\.({'|'.join(set(Recipe.model_fields) - {'name'})})\b")
    # Those that ask for all stages; one task may be made of another.
    asking = (*(kinds.module_of(kinds.TASKS, kind) for kind in kinds.names(kinds.TASKS)), *kinds.shared_tasks())
    tasks = {Path(name.replace(".", "/") + ".py") for name in asking}
    for recipe in (load(name, ROOT) for name in names(ROOT)):
        files = code.files(stage, recipe.task.kind, recipe.model.kind, ROOT) - tasks
        found = {section for file in files for section in read.findall((ROOT / file).read_text())}
        assert found <= sections(stage), recipe.name


def test_every_section_of_a_recipe_reaches_a_stage():
    assert set().union(*map(sections, STAGES_YAML)) == set(Recipe.model_fields) - {"name"}


def test_every_recipe_has_stages_and_all_sections():
    listed = yaml.safe_load((ROOT / "params.yaml").read_text())["recipes"]
    assert sorted(listed) == names(ROOT)
    for name in listed:
        there = yaml.safe_load((ROOT / f"pipelines/recipes/{name}.yaml").read_text())
        assert set(there) == set(Recipe.model_fields) - {"name"}, name


@pytest.mark.parametrize("name", names(ROOT))
def test_a_shipped_recipe_has_every_section_that_dvc_tracks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that the schema has defaults for is not enough: DVC reads the file itself."""
    monkeypatch.chdir(ROOT)
    check_recipe(name)
