"""Child processes run our code, and nothing of the folder that they are started in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from base import children
from base.children import CODE, python, share_code

NAMES = ("data.py", "serving.py", "models.py", "pipelines.py", "random.py", "json.py", "typing.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with modules of common names."""
    for name in NAMES:
        (tmp_path / name).write_text("print('this ran')\n")
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return (
        {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        | {"PYTHONPATH": str(CODE)}
        | more
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chat", "--url", "http://127.0.0.1:1", "hi"], "error: no endpoint answers at http://127.0.0.1:1"),
        (["run", "speeches"], "error: no Metroline project in"),
    ],
)
def test_the_command_line_in_a_users_folder(folder: Path, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-P", "-c", "from pipelines.commands.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1


def test_a_module_of_ours_is_found_and_a_users_is_not(folder: Path) -> None:
    done = subprocess.run(
        python("pipelines.commands.chat", "--help"), cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "this ran" not in done.stdout
    assert "Talk to a running endpoint" in done.stdout


@pytest.mark.parametrize(
    ("first", "before", "after"),
    [
        (str(CODE), None, str(CODE)),
        (str(CODE), "/a", f"{CODE}{os.pathsep}/a"),
        ("/somewhere/bin", None, None),
        ("/somewhere/bin", "/a", "/a"),
        ("", None, None),
    ],
)
def test_a_checkout_that_is_not_installed_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, first: str, before: str | None, after: str | None
) -> None:
    monkeypatch.setattr(sys, "path", [first, *sys.path])
    monkeypatch.setattr(children.os, "environ", {"PYTHONPATH": before} if before else {})
    share_code()
    assert children.os.environ.get("PYTHONPATH") == after
