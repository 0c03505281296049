"""The command `metroline`: help, bad input, exit codes, the recipe of one's own, status. Training is tests/e2e's."""

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
from pipelines.commands import cli
from pipelines.line import stages
from pipelines.line.endpoint import is_ready, served
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import Recipe
from tests.pipelines.line.scratch_project import RECIPE, alive, behave, environment, invoke, metroline, runs, wait_for

COMMANDS = ("init", "run", "stage", "status", "serve", "keys", "chat", "rollback", "schedule", "doctor", "demo")


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


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
        (["init", "Mine", "--data", "corpus.txt"], "'Mine' is not a recipe name"),
        (["init", "a b", "--data", "corpus.txt"], "'a b' is not a recipe name"),
        (["init", "../x", "--data", "corpus.txt"], "'../x' is not a recipe name"),
        (["init", "-x", "--data", "corpus.txt"], None),
        (["init", "one", "--data", "corpus.txt"], "there is a recipe one already"),
        (["init", "mine", "--data", "nothing"], "there is no file or folder"),
        (["init", "mine", "--data", "model.pdf"], "is none of .txt, .jsonl, .ndjson, .parquet"),
        (["init", "mine", "--data", "empty"], "no .txt, .jsonl, .ndjson, .parquet"),
        (["init", "twoo", "--data", "corpus.txt", "--update"], "did you mean two?"),
    ],
)
def test_bad_input(project: Path, arguments: list[str], message: str | None) -> None:
    Path("model.pdf").write_text("x")
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


@pytest.mark.parametrize(
    ("params", "after"),
    [
        ("recipes:\n- one\n- two\n", "recipes:\n- one\n- two\n- mine\n"),
        (
            "# all\nrecipes:\n  - one # first\n\n  # then\n  - two\nx: 1\n",
            "# all\nrecipes:\n  - one # first\n\n  # then\n  - two\n  - mine\nx: 1\n",
        ),
        ("x: 1\n", "x: 1\nrecipes:\n- mine\n"),
        ("recipes:\n", "recipes:\n- mine\n"),
        ("recipes: [one, two]\n", None),
        ("recipes: [one", None),
    ],
)
def test_init_adds_to_params(project: Path, params: str, after: str | None) -> None:
    Path("corpus.txt").write_text("some text\n")
    Path("params.yaml").write_text(params)
    done = invoke("init", "mine", "--data", "corpus.txt")
    if after is None:
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
        assert "params.yaml" in done.stderr
        assert not Path("pipelines/recipes/mine.yaml").exists()
        assert Path("params.yaml").read_text() == params
    else:
        assert done.exit_code == 0, done.stderr
        assert Path("params.yaml").read_text() == after


@pytest.mark.parametrize("name", ["plain", "with space", "quote'\"s", "colon: #hash", "näme", "- dash", "{brace}"])
def test_init_takes_any_path(project: Path, name: str) -> None:
    folder = project / name
    folder.mkdir()
    for index in range(100):
        (folder / f"{index}.txt").write_text(f"text {index}")
    done = invoke("init", "mine", "--data", str(folder))
    assert done.exit_code == 0, done.stderr
    recipe = load_recipe("mine")
    assert (recipe.source.path, recipe.split.method) == (name, "hash")
    text = Path("pipelines/recipes/mine.yaml").read_text()
    (folder / "0.txt").write_text("another text")
    done = invoke("init", "mine", "--data", str(folder), "--update")
    assert done.exit_code == 0, done.stderr
    again = Path("pipelines/recipes/mine.yaml").read_text()
    assert again != text
    assert again.replace(load_recipe("mine").source.sha256, recipe.source.sha256) == text
    moved = folder.rename(project / "elsewhere")
    assert invoke("init", "mine", "--data", str(moved), "--update").exit_code == 0
    assert load_recipe("mine").source.path == "elsewhere"
    invoke("status", "mine")


@pytest.mark.parametrize("name", ["123", "1e3", "017", "on", "null", "2024-01-01"])
def test_init_takes_names_that_yaml_reads_as_something_else(project: Path, name: str) -> None:
    Path("corpus.txt").write_text("some text\n")
    done = invoke("init", name, "--data", "corpus.txt")
    assert done.exit_code == 0, done.stderr
    assert f"{name} stale" in plain(invoke("status", name, "--url", "http://127.0.0.1:1").stdout)
    assert "one stale" in plain(invoke("status", "one", "--url", "http://127.0.0.1:1").stdout)


def test_an_unquoted_name_in_params_is_refused(project: Path) -> None:
    Path("pipelines/recipes/123.yaml").write_text(Path("pipelines/recipes/one.yaml").read_text())
    Path("params.yaml").write_text("recipes:\n- one\n- 123\n")
    for command in (["run", "123"], ["run", "one"], ["status"], ["init", "mine", "--data", "params.yaml"]):
        done = invoke(*command)
        assert done.exit_code == 1, command
    said = "error: params.yaml: entry 2 of `recipes` is a number to YAML: 123"
    assert invoke("run", "123").stderr == f"{said} (a recipe's name goes into quotes there, as - '2024')\n"


def test_update_changes_a_source_on_one_line(project: Path) -> None:
    Path("corpus.txt").write_text("some text\n")
    Path("folder").mkdir()
    Path("folder/other.txt").write_text("other text\n")
    recipe = Path("pipelines/recipes/one.yaml")
    before = recipe.read_text().replace('"', "")
    before = before.replace("0" * 64, "a" * 64)
    recipe.write_text(before)
    assert "source: {kind: file, path: corpus.txt, sha256:" in before
    assert invoke("init", "one", "--data", "corpus.txt", "--update").exit_code == 0
    first = load_recipe("one").source.sha256
    assert recipe.read_text() == before.replace("a" * 64, first)
    assert invoke("init", "one", "--data", "folder", "--update").exit_code == 0
    source = load_recipe("one").source
    assert recipe.read_text() == before.replace("a" * 64, source.sha256).replace("corpus.txt", "folder")


def test_one_file_is_cut_by_position(project: Path) -> None:
    Path("corpus.txt").write_text("some text\n")
    assert invoke("init", "mine", "--data", "corpus.txt").exit_code == 0
    assert load_recipe("mine").split.method == "tail"


@pytest.mark.parametrize(
    ("files", "method"),
    [
        ({f"{number}.txt": "text" for number in range(25)}, "tail"),
        ({"a.jsonl": '{"text": "x"}\n' * 99}, "tail"),
        ({"a.jsonl": '{"body": "x"}\n' * 60, "b.ndjson": '{"text": "x"}\n' * 40}, "hash"),
        ({"a.jsonl": '{"text": "x"}\n' * 60, **{f"{number}.txt": "text" for number in range(40)}}, "hash"),
        ({"a.parquet": "not Parquet"}, "hash"),
    ],
)
def test_few_documents_are_cut_by_position(project: Path, files: dict[str, str], method: str) -> None:
    for name, text in files.items():
        Path("texts").mkdir(exist_ok=True)
        (Path("texts") / name).write_text(text)
    done = invoke("init", "mine", "--data", "texts")
    assert (done.exit_code, load_recipe("mine").split.method) == (0, method), done.stderr


def test_init_says_what_counts_and_keeps_a_links_name(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("store")
    (store / "0f3a9c").write_text("some text\n")
    (store / "v1").mkdir()
    (store / "v1/a.txt").write_text("some text\n")
    (store / "v1/b.csv").write_text("a,b\n")
    (store / "train.txt").symlink_to("0f3a9c")
    (store / "current").symlink_to("v1")
    (project / "inside").symlink_to(store / "v1")
    for name, path, kept, told in [
        ("one", store / "train.txt", str(store / "train.txt"), "1 file, 0 kB\n"),
        ("two", store / "current", str(store / "current"), "1 file, 0 kB; left out: 1 .csv\n"),
        ("three", Path("inside"), "inside", "1 file, 0 kB; left out: 1 .csv\n"),
        ("four", Path("inside/../train.txt"), str(project / "inside/../train.txt"), "1 file, 0 kB\n"),
    ]:
        done = invoke("init", f"my-{name}", "--data", str(path))
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith(told)
        assert project / load_recipe(f"my-{name}").source.path == project / kept
    assert invoke("init", "my-two", "--data", str(store / "current"), "--update").stdout.startswith(
        "1 file, 0 kB; left"
    )


def test_init_of_a_path_that_is_not_utf8(project: Path) -> None:
    folder = project / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "a.txt").write_text("some text")
    done = invoke("init", "mine", "--data", str(folder))
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert r"caf\xe9 (rename it" in done.stderr


def test_update_wants_a_recipe_of_own_files(project: Path) -> None:
    Path("corpus.txt").write_text("some text\n")
    source = 'source: {kind: pypi, package: a==1, sha256: "%s", members: "*"}' % ("0" * 64)
    text = re.sub("source: .*", source, RECIPE % ("0" * 64))
    Path("pipelines/recipes/two.yaml").write_text(text)
    done = invoke("init", "two", "--data", "corpus.txt", "--update")
    assert "takes its data from a pypi source" in done.stderr


def test_a_line_with_nothing_to_do_is_quick(project: Path) -> None:
    for stage in ("fetch", "train", "evaluate"):
        subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "-s", f"{stage}@one"], check=True)
    began = time.monotonic()
    done = metroline(project, "-h", env=environment())
    bare = time.monotonic() - began
    began = time.monotonic()
    done = metroline(project, "run", "one", env=environment())
    took = time.monotonic() - began
    assert done.returncode == 0
    assert re.search(r"✓ one: nothing is stale \(\d+\.\d s\)", done.stderr)
    assert not (project / ".metroline/prefect").exists(), "Prefect was not started"
    assert took < 3 * max(1.0, bare / 0.3), f"{took:.1f} s, and help takes {bare:.1f} s"


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
