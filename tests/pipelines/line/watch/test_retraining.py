"""Alerts against a real Prefect server and worker: a run with its reason, debounced, within its budget."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from base.processes import free_port
from pipelines.line import schedule
from pipelines.line.watch.retraining import Limits, Retraining
from pipelines.recipe.new import repin
from tests.pipelines.line.scratch_project import (
    behave,
    environment,
    invoke,
    make_project,
    prefect_server,
    runs,
    until,
    wait_for,
)
from tests.pipelines.line.watch.test_receiver import alert, notification


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_project(tmp_path_factory.mktemp("watched") / "project")
    for name in ("one", "two"):  # data of their own
        (made / f"{name}.txt").write_text("as it was\n")
        recipe = made / f"pipelines/recipes/{name}.yaml"
        recipe.write_text(recipe.read_text().replace("corpus.txt", f"{name}.txt"))
        repin(name, made / f"{name}.txt", made)
    return made


@pytest.fixture(scope="module")
def server(root: Path, prefect_home: Path) -> Iterator[str]:
    with prefect_server(root, prefect_home) as url:
        yield url


def flow_run(url: str, run: str) -> dict[str, Any]:
    return httpx.get(f"{url}/flow_runs/{run}", trust_env=False).json()


@pytest.fixture(scope="module")
def watched(root: Path, server: str) -> Iterator[tuple[str, dict[str, str]]]:
    """`metroline watch one two`: its address, and the header that it wants."""
    nightly = schedule.cron_schedule("0 3 * * *", "UTC")
    schedule.register(server, "one", nightly, root)
    port, log = free_port(), root / "watch.log"
    options = ["--port", str(port), "--debounce", "0", "--runs-a-day", "3", "--minutes-a-day", "5"]
    command = [sys.executable, "-m", "pipelines.commands.cli", "watch", "one", "two", *options]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=root, env=environment(PREFECT_API_URL=server), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: "/alerts" in log.read_text() or process.poll() is not None, 60, "receiver")
        assert process.poll() is None, log.read_text()
        key = (root / ".metroline/watch/key").read_text()
        yield f"http://127.0.0.1:{port}", {"authorization": f"Bearer {key}"}
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def send(watched: tuple[str, dict[str, str]], *models: str) -> httpx.Response:
    url, headers = watched
    body = notification(*(alert(model) for model in models))
    return httpx.post(f"{url}/alerts", json=body, headers=headers, timeout=30, trust_env=False)


@pytest.mark.timeout(200)
def test_from_an_alert_to_a_run_and_no_further(root: Path, server: str, watched: tuple[str, dict[str, str]]) -> None:
    (root / "one.txt").write_text("what has come since\n")
    behave(root, train={"seconds": 4})
    answer = send(watched, "one")
    assert answer.status_code == 200, answer.text
    first = answer.json()["models"]["one"]
    assert first["outcome"] == "started"

    again = send(watched, "one", "unknown")
    assert again.status_code == 200, "one of the two could be dealt with"
    assert again.json()["models"]["one"]["outcome"] == "debounced"
    assert "is under way" in again.json()["models"]["one"]["said"]
    assert again.json()["models"]["unknown"]["outcome"] == "unknown"

    run = until(lambda: ended(server, first["run"]), 90, "end of the run")
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["name"] == "one: MetrolineDrift: Prompts are strange."
    assert "alert" in run["tags"]
    assert (runs(root, "fetch"), runs(root, "train")) == (1, 1)
    assert (root / "raw/one").is_file()

    second = send(watched, "one").json()["models"]["one"]
    run = until(lambda: ended(server, second["run"]), 60, "end of the run")
    assert run["state"]["message"] == (
        "nothing has changed: all stages of one are fresh; one.txt (1 file, 0 kB): the files are as they were pinned"
    )
    assert runs(root, "train") == 1
    schedules = httpx.get(f"{server}/deployments/name/line/one", trust_env=False).json()["schedules"]
    assert [each["schedule"]["cron"] for each in schedules] == ["0 3 * * *"], "to be watched ends no schedule"

    counted = httpx.get(f"{watched[0]}/metrics", trust_env=False).text
    assert 'metroline_watch_alerts_total{model="one",outcome="started"} 2.0' in counted

    # The same server, asked by receivers with other limits: what counts is what it has recorded.
    asked = Retraining(server, ("one",), Limits(quiet=60)).ask("one", "again")
    assert asked.outcome == "debounced"
    assert "the last run ended 0." in asked.said
    asked = Retraining(server, ("one",), Limits(quiet=0, runs=2)).ask("one", "again")
    assert (asked.outcome, asked.said) == ("over_budget", "2 runs in 24 hours were started by alerts, of 2")
    assert 86000 < (asked.retry_after or 0) <= 86400
    asked = Retraining(server, ("one",), Limits(quiet=0, minutes=0.01)).ask("one", "again")
    assert asked.outcome == "over_budget"
    assert asked.said.endswith("minutes in 24 hours were spent on alerts, of 0.01")


def ended(url: str, run: str) -> dict[str, Any] | None:
    found = flow_run(url, run)
    return found if found["end_time"] else None


@pytest.mark.timeout(200)
@pytest.mark.usefixtures("watched")
def test_a_run_is_stopped_when_its_minutes_are_spent(root: Path, server: str) -> None:
    behave(root, train={"seconds": 100, "checkpoint": True})
    (root / "two.txt").write_text("what has come since\n")
    asked = Retraining(server, ("two",), Limits(minutes=0.2)).ask("two", "drift")
    assert asked.run is not None
    wait_for(root / "train.pid", 60)
    run = until(lambda: ended(server, str(asked.run)), 60, "end of the run")
    assert run["state_type"] == "FAILED"
    assert "the run's 0.2 minutes are spent, in train@two" in run["state"]["message"]
    assert "the next one goes on from there: metroline run two" in run["state"]["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ones"], "did you mean one?"),
        (["one", "--minutes-a-day", "0"], "--minutes-a-day must be above 0"),
        (["one", "--minutes-a-day", "nan"], "--minutes-a-day must be above 0"),
        (["one", "--debounce", "-1"], "--debounce not below it"),
        (["one", "--host", "here"], "cannot listen on here, which is no IP address"),
        (["one", "--key", "model.txt"], "holds no key"),
    ],
)
def test_bad_arguments(root: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(root)
    done = invoke("watch", *arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
