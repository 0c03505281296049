"""What makes a recipe's stage stale: in a copy of the project, an edit changes the hashes of those who run the code."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECIPES = "pipelines/recipes"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the task of docs/extending.md, which is made of another task, and a recipe of a broken task."""
    folder = tmp_path_factory.mktemp("code")
    unread = shutil.ignore_patterns("__pycache__", "raw", "prepared", "examples")
    for package in ("base", "data", "kernels", "models", "pipelines"):
        shutil.copytree(ROOT / package, folder / package, ignore=unread)
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n# (pipelines/tasks/\S+)\n(.*?)```", page, flags=re.S)
    assert found
    (folder / found[1]).write_text(found[2], encoding="utf-8")
    digits = (folder / RECIPES / "digits.yaml").read_text(encoding="utf-8")
    for name, kind in (("robust", "robust-regression"), ("broken", "broken")):
        text = digits.replace("task: {kind: classification}", f"task: {{kind: {kind}}}")
        (folder / RECIPES / f"{name}.yaml").write_text(text, encoding="utf-8")
    (folder / "pipelines/tasks/broken.py").write_text("class Task:\n    engine = nothing\n", encoding="utf-8")
    return folder


def hashes(project: Path) -> dict[str, dict[str, str]]:
    command = [sys.executable, "-m", "pipelines.recipe.code"]
    subprocess.run(command, cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, check=True, timeout=60)
    found: dict[str, dict[str, str]] = json.loads((project / "artifacts/code.json").read_text())
    return found


def stale(project: Path, edited: str, text: str = "\nedited = True\n") -> set[str]:
    """The stages of all recipes, as `train.digits`, whose hash another text at the end of a file changes."""
    before, path = hashes(project), project / edited
    whole = path.read_bytes()
    path.write_bytes(whole + text.encode())
    try:
        after = hashes(project)
    finally:
        path.write_bytes(whole)
    assert {stage: set(found) for stage, found in after.items()} == {stage: set(was) for stage, was in before.items()}
    return {f"{stage}.{name}" for stage, found in after.items() for name in found if found[name] != before[stage][name]}


def test_a_task_made_of_another_has_the_stages_of_both_apart(project: Path) -> None:
    found = stale(project, "pipelines/tasks/supervised/measure.py")
    assert {"evaluate.robust", "evaluate.digits"} <= found
    assert not {"prepare.robust", "train.robust", "train.digits", "evaluate.tiny"} & found
    assert {"train.robust", "evaluate.robust"} <= stale(project, "pipelines/tasks/regression.py")


@pytest.mark.parametrize("edited", ["base/terminal.py", "base/children.py", "pipelines/tasks/broken.py"])
def test_what_decides_no_output_makes_nothing_stale(project: Path, edited: str) -> None:
    assert stale(project, edited) - {f"{stage}.broken" for stage in ("prepare", "train", "evaluate")} == set()


def test_a_file_that_is_no_python_stops_only_who_runs_it(project: Path) -> None:
    found = stale(project, "pipelines/tasks/supervised/learner.py", "def\n")
    assert {"train.digits", "train.robust"} <= found
    assert not {name for name in found if name.endswith(".tiny") or name.startswith(("prepare.", "evaluate."))}
