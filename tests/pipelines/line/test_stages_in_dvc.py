"""dvc.yaml and params.yaml against the code: every recipe has its stages, every stage depends on what it runs."""

from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from pipelines.line.stages import STAGES
from pipelines.recipe.load import names
from pipelines.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parents[3]
STAGES_YAML = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ENTRY = {
    "fetch": {"data.fetch.sources"},
    "prepare": {"data.text.prepare"},
    "train": {"pipelines.training.stage", "pipelines.training.imported", "pipelines.line.plots"},
    "evaluate": {"pipelines.tasks.language_modelling.evaluate", "pipelines.line.plots"},
    "export": {"pipelines.exporting.stage"},
    "release": {"pipelines.release.stage"},
}
PLUMBING = {
    "base.children", "base.endpoints", "base.errors", "base.files", "base.progress", "base.terminal", "pipelines.paths",
}  # fmt: skip
"""Decide where and how safely something is written or shown, not what."""


@cache
def graph() -> grimp.ImportGraph:
    found = grimp.build_graph("data", "kernels", "models", "pipelines")
    found.remove_module(
        "pipelines.recipe.schema"
    )  # a stage gets the checked recipe; what matters of it is in its params
    return found


def files(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def needed(stage: str) -> set[str]:
    """The source files that a stage runs, as far as they say something."""
    modules = {up for entry in ENTRY[stage] for up in graph().find_upstream_modules(entry)} | ENTRY[stage]
    paths = {files(module) for module in modules - PLUMBING}
    return {path for path in paths if (ROOT / path).read_text().strip()}


def code(stage: str) -> set[str]:
    deps = STAGES_YAML[stage]["do"]["deps"]
    return {dep for dep in deps if not dep.startswith(("data/raw", "data/prepared", "artifacts"))}


def covers(dep: str, path: str) -> bool:
    return path == dep or path.startswith(f"{dep}/")


def test_the_stages_are_those_of_the_code():
    assert list(STAGES_YAML) == list(STAGES) == list(ENTRY)
    for name, stage in STAGES_YAML.items():
        assert stage["do"]["cmd"] == f"python -m pipelines.commands.cli stage {name} ${{item}}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_runs(stage):
    missing = {path for path in needed(stage) if not any(covers(dep, path) for dep in code(stage))}
    missing -= {path for path in missing if path.endswith("__init__.py") and not _has_code(path)}
    assert not missing, f"{stage}: add to its deps in dvc.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_nothing_else(stage):
    idle = {dep for dep in code(stage) if not any(covers(dep, path) for path in needed(stage))}
    assert not idle, f"{stage}: not imported by it"
    assert not any(dep.startswith("serving") for dep in code(stage))


def _has_code(path: str) -> bool:
    import ast

    tree = ast.parse((ROOT / path).read_text())
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in tree.body)


def test_every_section_of_a_recipe_reaches_a_stage():
    tracked = {
        section
        for stage in STAGES_YAML.values()
        for params in stage["do"]["params"]
        for section in params["pipelines/recipes/${item}.yaml"]
    }
    assert tracked == set(Recipe.model_fields) - {"name"}


def test_every_recipe_has_stages_and_all_sections():
    listed = yaml.safe_load((ROOT / "params.yaml").read_text())["recipes"]
    assert sorted(listed) == names(ROOT)
    for name in listed:
        there = yaml.safe_load((ROOT / f"pipelines/recipes/{name}.yaml").read_text())
        assert set(there) == set(Recipe.model_fields) - {"name"}, name
