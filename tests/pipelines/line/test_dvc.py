"""pipelines/line/dvc.py against the real DVC: what is stale, running a stage, stopping it, waiting for a lock."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from base.errors import MetrolineError
from pipelines.line import dvc as line
from tests.pipelines.line.scratch_project import alive, behave, runs, wait_for

CONFLICT = "<<<<<<< HEAD\nrecipes: [one]\n=======\nrecipes: [two]\n>>>>>>> theirs\n"
NAMES = ("123", "017", "1e3", "0x1f", "on", "y", "null", "true", "2024-01-01")
"""What YAML takes for something else without quotes; the first is 123 to all readers of YAML."""


def run_all(recipe: str) -> list[str]:
    lines: list[str] = []
    for entry in line.entries(recipe):
        line.run_stage(entry.address, lines.append)
    return lines


def test_new_stale_fresh(project: Path) -> None:
    first = line.entries("one")
    assert [entry.address for entry in first] == ["fetch@one", "train@one", "evaluate@one"]
    assert not any(entry.fresh for entry in first)
    said = run_all("one")
    assert "fetch says hello" in said
    assert not any("dvc" in text.lower() or text.startswith("Running stage") for text in said), said
    assert all(entry.fresh for entry in line.entries("one"))
    assert not any(entry.fresh for entry in line.entries("two"))

    Path("model.txt").write_text("another model\n")
    assert [(entry.stage, entry.reasons) for entry in line.entries("one")] == [
        ("fetch", ()),
        ("train", ("model.txt modified",)),
        ("evaluate", ("after train",)),
    ]
    recipe = Path("pipelines/recipes/one.yaml")
    recipe.write_text(recipe.read_text().replace("evaluate: {}", "evaluate: {seed: 1}"))
    Path("model.txt").write_text("a model\n")
    assert [entry.reasons for entry in line.entries("one")] == [(), (), ("recipe's evaluate modified",)]
    Path("trained/one").unlink()
    assert line.entries("one")[1].reasons == ("trained/one deleted",)


def test_names_that_yaml_reads_as_something_else(project: Path) -> None:
    text = Path("pipelines/recipes/one.yaml").read_text()
    for name in NAMES:
        Path(f"pipelines/recipes/{name}.yaml").write_text(text)
    Path("params.yaml").write_text("recipes:\n- one\n" + "".join(f"- '{name}'\n" for name in NAMES))
    for name in NAMES:
        assert [entry.address for entry in line.entries(name)] == [
            f"{stage}@{name}" for stage in ("fetch", "train", "evaluate")
        ]
    line.run_stage("fetch@1e3", print)
    assert Path("raw/1e3").read_text() == "fetch 1e3\n"
    assert line.is_fresh("fetch@1e3")
    assert not line.is_fresh("fetch@one")


def test_no_stage_is_not_every_stage(project: Path) -> None:
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(text.replace("foreach: ${recipes}", "foreach: [two]"))
    with pytest.raises(MetrolineError, match=r"dvc\.yaml makes no stage for one"):
        line.entries("one")
    assert [entry.address for entry in line.entries("two")] == ["fetch@two", "train@two", "evaluate@two"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda: None, "no recipe 'speches'"),
        (lambda: Path("params.yaml").write_text("recipes: [two]\n"), "recipe one is not in params.yaml"),
        (lambda: Path("params.yaml").write_text("- one\n"), "params.yaml: not a mapping"),
        (lambda: Path("params.yaml").write_text("recipes: [\n"), "params.yaml: not valid YAML: while parsing"),
        (lambda: Path("params.yaml").unlink(), "params.yaml: "),
        (lambda: Path("params.yaml").write_text(""), "params.yaml: is empty (it needs a list `recipes:`)"),
        (lambda: Path("params.yaml").write_text("recipes: {one: 1}\n"), "params.yaml: `recipes` is no list"),
        (lambda: Path("params.yaml").write_text("recipes: none\n"), "params.yaml: `recipes` is no list"),
        (
            lambda: Path("params.yaml").write_text("recipes: [one, 1e3]\n"),
            "entry 2 of `recipes` is a number",
        ),
        (lambda: Path("params.yaml").write_text("recipes:\n- \n- one"), "entry 1 of `recipes` is null to YAML"),
        (
            lambda: Path("params.yaml").write_text("recipes: [one, 2024-01-01]"),
            "entry 2 of `recipes` is a date",
        ),
        (lambda: Path("params.yaml").write_text(CONFLICT), "params.yaml: line 1: a merge conflict is left in it"),
        (lambda: Path("dvc.yaml").write_text("stages: [\n"), "DVC: "),
        (lambda: Path("dvc.yaml").write_text("stages: 3\n"), "(`git checkout dvc.yaml` brings it back)"),
        (lambda: Path("dvc.yaml").write_text(CONFLICT), "dvc.yaml: line 1: a merge conflict is left in it"),
        (lambda: Path("dvc.yaml").write_text(""), "dvc.yaml makes no stage for one (`git checkout dvc.yaml`"),
        (lambda: Path("dvc.lock").write_text(CONFLICT), "dvc.lock: line 1: a merge conflict is left in it"),
        (lambda: Path("dvc.lock").write_text(""), "or remove it: then all stages run again"),
        (lambda: Path("dvc.lock").write_bytes(b"\xff\xfe"), "or remove it: then all stages run again"),
        (lambda: os.rename(".dvc", "gone"), "this project has lost its .dvc folder"),
        (
            lambda: Path("pipelines/recipes/one.yaml").write_text(
                Path("pipelines/recipes/one.yaml").read_text().replace("export: {}\n", "")
            ),
            "no export (for the defaults write an empty one, such as `export: {}`)",
        ),
    ],
)
def test_bad_projects(project: Path, break_it, message: str) -> None:
    break_it()
    with pytest.raises(MetrolineError) as caught:
        line.entries("speches" if "speches" in message else "one")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stage_that_fails_says_why(project: Path) -> None:
    behave(project, fetch={"failures": 1, "network": True})
    with pytest.raises(line.StageFailed, match=r"^fetch cannot, try 1$") as caught:
        line.run_stage("fetch@one", print)
    assert caught.value.temporary
    line.run_stage("fetch@one", print)
    behave(project, train={"failures": 1})
    with pytest.raises(line.StageFailed) as caught:
        line.run_stage("train@one", print)
    assert not caught.value.temporary
    behave(project, train={"crash": True})
    lines: list[str] = []
    with pytest.raises(line.StageFailed, match="train@one"):
        line.run_stage("train@one", lines.append)
    assert any("RuntimeError: a bug" in text for text in lines)


def test_a_stage_that_does_not_exist(project: Path) -> None:
    with pytest.raises(line.StageFailed, match="nothing@one"):
        line.run_stage("nothing@one", print)


@pytest.mark.parametrize("how", ["polite", "deaf"])
def test_any_exception_ends_the_whole_group(project: Path, how: str) -> None:
    behave(project, fetch={"seconds": 300, "child": True, "deaf": how == "deaf", "checkpoint": how == "polite"})

    class Stop(BaseException):
        pass

    def watch(text: str) -> None:
        if '"done": 0' not in text:
            return
        raise Stop

    began = time.monotonic()
    with pytest.raises(Stop):
        line.run_stage("fetch@one", watch, grace=2 if how == "deaf" else 30)
    took = time.monotonic() - began
    assert not alive(int(wait_for(Path("fetch.pid"))))
    assert not alive(int(wait_for(Path("child.pid"))))
    assert Path("checkpoint").exists() == (how == "polite"), "SIGTERM leaves time to save"
    assert took < 15
    behave(project)
    line.run_stage("fetch@one", print)  # neither lock nor half-written output is in the way
    assert line.is_fresh("fetch@one")


def test_a_stage_ends_when_its_owner_is_killed(project: Path) -> None:
    behave(project, fetch={"seconds": 300, "child": True})
    code = "from pipelines.line import dvc; dvc.run_stage('fetch@one', print)"
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    stage = int(wait_for(Path("fetch.pid")))
    child = int(wait_for(Path("child.pid")))
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + 10
    while alive(stage) or alive(child):
        assert time.monotonic() < deadline, "the stage outlived its owner"
        time.sleep(0.05)


def test_waits_for_another_dvc(project: Path) -> None:
    behave(project, fetch={"seconds": 4})
    other = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q", "fetch@one"], stdout=subprocess.DEVNULL)
    wait_for(Path("fetch.pid"))
    lines: list[str] = []
    line.run_stage("fetch@one", lines.append)
    assert other.wait() == 0
    assert runs(project, "fetch") == 1, "what the other one made is taken over"
    waiting = [text for text in lines if "waiting for another DVC command" in text]
    assert len(waiting) == 1
    assert "(PID " in waiting[0]
    assert not any("busy" in text for text in lines)


def test_asking_waits_for_the_lock(project: Path) -> None:
    from dvc.repo import Repo

    repo = Repo(".")
    repo.lock.lock()
    threading.Timer(4.5, repo.lock.unlock).start()
    said: list[str] = []
    assert line.entries("one", waiting=said.append)
    assert said == ["waiting for another DVC command to release its lock"]


def test_a_forced_stage_knows_it(project: Path) -> None:
    behave(project)
    line.run_stage("fetch@one", print)
    line.run_stage("fetch@one", print)
    line.run_stage("fetch@one", print, force=True)
    assert Path("fetch.log").read_text() == "run\nforced\n"
