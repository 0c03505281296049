"""The command `metroline`: help, bad input, exit codes, status. Training is tests/e2e's."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from base.processes import next_free_port
from base.served import is_ready
from pipelines.commands import cli
from pipelines.line import stages
from pipelines.line.endpoint import served
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import Recipe
from tests.pipelines.line.scratch_project import (
    alive,
    behave,
    environment,
    invoke,
    metroline,
    plain,
    runs,
    wait_for,
)

COMMANDS = ("init", "run", "stage", "status", "serve", "keys", "chat", "rollback", "schedule", "doctor", "demo",
            "tune", "collect", "trace")  # fmt: skip


def test_help_names_every_command():
    shown = plain(invoke("--help").output)
    for command in COMMANDS:
        assert f" {command} " in shown
    for word in (
        "recipe",
        "metroline demo",
        "metroline init mine --data texts/",
        "metroline doctor",
        "Exit codes: 0 done",
    ):
        assert word in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_and_explains_its_options(command):
    done = invoke(command, "--help")
    assert done.exit_code == 0
    shown = plain(done.output)
    assert len(shown) > 120
    assert f"metroline {command}" in shown.partition("Show this message and exit.")[2], "an example"
    assert "[[" not in shown
    assert f"{{{command}}}" not in shown
    for parameter in typer.main.get_command(cli.app).commands[command].params:
        assert parameter.help, f"{parameter.name} is not explained"


def test_help_is_the_same_where_python_strips_docstrings():
    """PYTHONOPTIMIZE=2, as small images set it."""
    stripped = subprocess.run(
        [sys.executable, "-OO", "-m", "pipelines.commands.cli", "--help"],
        cwd=Path(__file__).parents[3], env=environment(COLUMNS="80"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert plain(stripped.stdout) == plain(invoke("--help", COLUMNS="80").output)
    for command in typer.main.get_command(cli.app).commands.values():
        assert command.callback.__doc__ is None, "help that python -OO would take away"
        assert command.help


def test_without_a_command_it_shows_help():
    assert "Usage" in invoke().output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "ones"], "no recipe 'ones' in pipelines/recipes (did you mean one?)"),
        (["run", "xyz"], "no recipe 'xyz' in pipelines/recipes (there are: one, two)"),
        (["run", "../one"], "no recipe '../one'"),
        (["run", "one", "--force", "trian"], "no stage 'trian' in the line of one (did you mean train?)"),
        (["stage", "trian", "one"], "no stage 'trian' (did you mean train?)"),
        (["stage", "train", "ones"], "did you mean one?"),
        (["status", "ones"], "did you mean one?"),
        (["serve"], "name either a recipe or --bundle FOLDER"),
        (["serve", "one", "--bundle", "x"], "name either a recipe or --bundle FOLDER"),
        (["serve", "ones"], "did you mean one?"),
        (["rollback", "ones"], "did you mean one?"),
        (["rollback", "one"], "nothing of one is released (metroline run one)"),
        (["demo", "--recipe", "ones", "--once"], "did you mean one?"),
        (["tune", "ones", "--set", "train.lr=uniform(0.1, 1)"], "did you mean one?"),
        (["collect", "ones", "--from", "empty"], "did you mean one?"),
        (["collect", "one", "--from", "nowhere"], "there is no folder"),
        (["trace", "nothing"], "nothing is no release in"),
        (["tune", "one"], 'there is nothing to search (as --set "train.lr=loguniform(1e-4, 1e-2)")'),
        (["tune", "one", "--set", "train.lrr=uniform(0.1, 1)"], "train.lrr: unknown key, did you mean lr?"),
        (["tune", "one", "--set", "train.lr=uniform(0.1, 1)", "--minutes", "0"], "must be above 0"),
        (["init", "Mine", "--data", "corpus.txt"], "'Mine' is not a recipe name"),
        (["init", "a b", "--data", "corpus.txt"], "'a b' is not a recipe name"),
        (["init", "../x", "--data", "corpus.txt"], "'../x' is not a recipe name"),
        (["init", "-x", "--data", "corpus.txt"], None),
        (["init", "one", "--data", "corpus.txt"], "there is a recipe one already"),
        (["init", "mine", "--data", "nothing"], "there is no file or folder"),
        (["init", "mine", "--data", "model.odt"], "is none of .txt, .jsonl, .ndjson, .parquet"),
        (["init", "mine", "--data", "model.pdf"], "to be searched and cited: --task index"),
        (["init", "mine", "--data", "empty"], "no .txt, .jsonl, .ndjson, .parquet"),
        (["init", "twoo", "--data", "corpus.txt", "--update"], "did you mean two?"),
    ],
)
def test_bad_input(project: Path, arguments: list[str], message: str | None) -> None:
    for name in ("model.odt", "model.pdf"):
        Path(name).write_text("x")
    Path("corpus.txt").write_text("some text\n")
    Path("empty").mkdir()
    before = {path: path.read_bytes() for path in [*Path("pipelines").rglob("*.yaml"), Path("params.yaml")]}
    done = invoke(*arguments)
    if message is None:
        assert done.exit_code == 2
        return
    assert done.exit_code == 1, done.output
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    after = {path: path.read_bytes() for path in [*Path("pipelines").rglob("*.yaml"), Path("params.yaml")]}
    assert before == after


def test_usage_errors(project: Path) -> None:
    for arguments in (
        ["run"],
        ["rnu", "one"],
        ["serve", "one", "--port", "70000"],
        ["init", "mine"],
        ["stage", "train"],
    ):
        assert invoke(*arguments).exit_code == 2, arguments
    assert "run" in invoke("rnu", "one").stderr


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("run", "one")
    assert done.exit_code == 1
    assert "no Metroline project in" in done.stderr
    assert "no Metroline project in /nowhere (" in invoke("status", METROLINE_ROOT="/nowhere").stderr


def test_from_a_folder_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(project)
    (project / "texts").mkdir()
    (project / "texts/a.txt").write_text("some text")
    monkeypatch.chdir(project / "texts")
    done = invoke("init", "mine", "--data", ".")
    assert done.exit_code == 0, done.stderr
    assert load_recipe("mine", project).source.path == "texts"


def test_debug_shows_where_an_error_came_from(project: Path) -> None:
    done = invoke("run", "ones", METROLINE_DEBUG="1")
    assert type(done.exception).__name__ == "MetrolineError"


def test_a_bug_is_not_dressed_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.commands.status.show", lambda *_: 1 / 0)
    assert isinstance(invoke("status").exception, ZeroDivisionError)


def test_a_line_with_nothing_to_do_starts_no_server(project: Path) -> None:
    for stage in ("fetch", "train", "evaluate"):
        subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "-s", f"{stage}@one"], check=True)
    done = metroline(project, "run", "one", env=environment())
    assert done.returncode == 0
    assert re.search(r"✓ one: nothing is stale \(\d+\.\d s\)", done.stderr)
    assert not (project / ".metroline/prefect").exists(), "Prefect was not started"


def test_nothing_heavy_is_imported_before_it_is_needed(project: Path) -> None:
    code = (
        "import sys\nfrom pipelines.commands import cli, status\nfrom pipelines.recipe import schema\n"
        "from pipelines.line import deployment, dvc, run, stages\n"
        "heavy = {'torch', 'prefect', 'dvc', 'bentoml', 'onnx', 'matplotlib', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_stage_and_lets_it_save(project_with_prefect: Path, number: signal.Signals) -> None:
    project = project_with_prefect
    behave(project, train={"seconds": 300, "checkpoint": True, "child": True})
    command = [sys.executable, "-m", "pipelines.commands.cli", "run", "one"]
    process = subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )  # a terminal's foreground group
    stage = int(wait_for(Path("train.pid"), 90))
    child = int(wait_for(Path("child.pid")))
    time.sleep(0.5)
    os.killpg(process.pid, number)
    shown = process.communicate(timeout=60)[1]
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "Traceback" not in shown
    assert "■ train" in shown
    assert Path("checkpoint").read_text() == "saved"
    assert not alive(stage)
    assert not alive(child)
    assert runs(project, "evaluate") == 0


def test_status(project: Path) -> None:
    shown = plain(invoke("status", "--url", "http://127.0.0.1:1").stdout)
    assert "one stale stale stale - -" in shown
    assert "recipe fetch train evaluate live previous" in plain(invoke("status", COLUMNS="40").stdout)
    assert "endpoint http://127.0.0.1:1 does not answer" in shown
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "train@one"], check=True)
    Path("pipelines/recipes/three.yaml").write_text("description: [")
    Path("params.yaml").write_text("recipes: [one, three]\n")
    shown = plain(invoke("status").stdout)
    assert "one fresh fresh stale" in shown
    assert "two: not in params.yaml" in shown
    assert "three.yaml: not valid YAML" in shown
    assert "evaluate: " in plain(invoke("status", "one").stdout)
    assert "not valid YAML" in invoke("status", "three").stderr


def test_stage_reports_an_error_to_its_parent(project: Path) -> None:
    done = invoke("stage", "prepare", "one", METROLINE_PROGRESS="lines")
    assert done.exit_code == 1
    event = json.loads(done.stdout.splitlines()[-1].removeprefix("@error "))
    assert event["temporary"] is False
    assert done.stderr == f"error: {event['message']}\n"


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:port", "nonsense"])
def test_nothing_answers_at_an_address_that_is_none(url: str) -> None:
    assert not is_ready(url)
    assert served(url) is None


def test_the_next_free_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert next_free_port(port) > port


@pytest.mark.parametrize("forced", [True, False])
def test_a_forced_training_starts_anew(project: Path, monkeypatch: pytest.MonkeyPatch, forced: bool) -> None:
    calls = []
    monkeypatch.setattr("pipelines.training.stage.train", lambda recipe, paths, anew: calls.append((recipe.name, anew)))
    done = invoke("stage", "train", "one", **({stages.FORCED: "1"} if forced else {}))
    assert done.exit_code == 0, done.stderr
    assert calls == [("one", forced)]


def test_a_full_disk_in_any_stage_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipe: Recipe, paths: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(stages.STAGES, "evaluate", stages.Stage(fail, minutes=1))
    done = invoke("stage", "evaluate", "one")
    assert done.exit_code == 1
    assert (
        done.stderr
        == "error: cannot write artifacts/one: No space left on device (make room and run the same command again)\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["doctor"], ["status", "one"], ["status", "twö"]])
def test_any_terminal(project: Path, arguments: list[str], encoding: str) -> None:
    done = metroline(
        project, *arguments, env=environment(PYTHONIOENCODING=encoding), encoding=encoding, errors="strict"
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr == ("" if "twö" not in arguments else done.stderr)
    assert len(done.stderr.splitlines()) <= 1
    if arguments == ["doctor"]:
        assert ("✓ " if encoding == "utf-8" else "+ ") in done.stdout
