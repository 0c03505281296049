"""The README says what is true: its commands exist and run, its tree is the tree, its links lead somewhere."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from pipelines.commands import cli
from pipelines.line.stages import STAGES
from pipelines.recipe.load import names
from tests.e2e.line_copy import ROOT, copy_project, environment

README = (ROOT / "README.md").read_text()
OWN = "mine"  # the README's name for a recipe of one's own


def commands() -> list[str]:
    """Every command line of the indented blocks, without its comment; `a && b` and `a; b` are two."""
    lines = re.findall(r"(?m)^    ((?:make|metroline|dvc|promtool|prefect) .*)$", README)
    inline = re.findall(r"`((?:make|metroline|dvc) [^`]+)`", README)
    return [part.strip() for line in [*lines, *inline] for part in re.split(r"&&|;", line.split("  #")[0])]


def test_there_are_commands():
    found = commands()
    assert found[:2] == ["make demo", "make test"], "the first screen shows them"
    assert {shlex.split(command)[1] for command in found if command.startswith("metroline ")} > {"run", "init", "serve"}


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("metroline ")])
def test_a_command_is_as_the_command_line_takes_it(command):
    name, *arguments = shlex.split(command)[1:]
    parser = typer.main.get_command(cli.app).commands[name]
    given = parser.make_context(name, arguments).params  # raises for an unknown option or a missing argument
    recipe = given.get("recipe")
    assert recipe is None or recipe in [*names(ROOT), OWN]
    assert given.get("stage") in [None, *STAGES]


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_a_make_target_exists(command):
    words = shlex.split(command)
    done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("dvc repro")])
def test_a_dvc_stage_exists(command):
    for target in shlex.split(command)[2:]:
        stage, _, recipe = target.partition("@")
        assert stage in STAGES
        assert recipe in names(ROOT)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_commands_run(tmp_path: Path) -> None:
    """On the short recipe; what needs minutes or a terminal is run by test_whole_line.py."""
    clone = copy_project(tmp_path / "metroline")
    git = "git init -q && git add . && git -c user.name=t -c user.email=t@t commit -qm one"
    subprocess.run(git, shell=True, cwd=clone, check=True)
    (clone / "texts").mkdir()
    for index in range(30):
        (clone / f"texts/{index}.txt").write_text(f"This is text number {index} of a small corpus.\n")
    rows = "".join(f"{20 + 37 * n % 101},{3 * (20 + 37 * n % 101) + 0.5}\n" for n in range(100))
    (clone / "flats.csv").write_text(f"size,price\n{rows}")
    hours = "".join(f"2026-01-{1 + n // 24:02}T{n % 24:02}:00,{20 + n % 24}\n" for n in range(600))
    (clone / "load.csv").write_text(f"time,mw\n{hours}")
    chats = (f'{{"prompt": "What is {n} and {n}?", "completion": "{2 * n}"}}\n' for n in range(60))
    (clone / "chats.jsonl").write_text("".join(chats))
    quick = (
        "metroline status",
        "metroline init",
        "metroline doctor",
        "dvc metrics diff",
        "dvc plots show",
        "dvc repro",
    )
    run = [command for command in commands() if command.startswith(quick) and "NAME" not in command]
    assert len(run) >= 5
    for command in dict.fromkeys(run):
        short = re.sub(r"~/\w+", "texts", re.sub(r"\b(speeches|shakespeare)\b", "tiny", command))
        short = short.replace("dvc repro train@tiny", "dvc repro prepare@tiny")
        done = subprocess.run(
            short, shell=True, cwd=clone, env=environment(), capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, f"{short}: {done.stdout}{done.stderr}"
    assert (clone / f"pipelines/recipes/{OWN}.yaml").is_file()


def test_the_tree_is_the_tree():
    (block,) = re.findall(r"(?ms)^## What is where\n+```\n(.*?)^```", README)
    listed = [line.split()[0] for line in block.splitlines() if line and not line.startswith(" ")]
    for path in listed:
        assert (ROOT / path).exists(), f"{path} is in the README's tree only"
        assert path.endswith("/") == (ROOT / path).is_dir(), path
    for folder in ("data", "kernels", "models", "pipelines", "serving", "benchmarks", "tests", "docs"):
        assert f"{folder}/" in listed, folder
    for line in block.splitlines():
        for path in re.findall(r"\b[a-z]+/(?=[ ,;]|$)", line.partition("  ")[2]):
            assert (ROOT / line.split()[0] / path).is_dir(), f"{line.split()[0]}{path}"


def test_links_and_pictures_lead_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing
    assert not re.findall(r"(?m)^@[A-Z]+@$", README), "a place that was to be filled in"
