"""Schedules against a real Prefect server and worker: a run that really is due, one that overlaps, one that dies."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from base.errors import MetrolineError
from base.processes import free_port
from pipelines.line import prefect_processes as servers
from pipelines.line import schedule
from tests.pipelines.line.scratch_project import (
    alive,
    behave,
    environment,
    invoke,
    make_project,
    metroline,
    prefect_server,
    runs,
    until,
    wait_for,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("scheduled") / "project")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[str]:
    with prefect_server(root) as url:
        yield url


def flow_runs(url: str, *types: str) -> list[dict[str, Any]]:
    body = {"flow_runs": {"state": {"type": {"any_": list(types)}}}, "sort": "EXPECTED_START_TIME_ASC"}
    return httpx.post(f"{url}/flow_runs/filter", json=body, trust_env=False).json()


@pytest.mark.timeout(290)
def test_a_scheduled_run_an_overlapping_one_and_a_dead_one(root: Path, server: str) -> None:
    behave(root, fetch={"seconds": 200, "child": True})
    command = [sys.executable, "-m", "pipelines.commands.cli", "schedule", "one", "--cron", "* * * * *"]
    log = root / "schedule.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=root, env=environment(PREFECT_API_URL=server), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: "a worker runs here" in log.read_text() or process.poll() is not None, 60, "worker")
        said = log.read_text()
        assert "one: * * * * * (UTC); next runs:" in said, said
        assert said.count("UTC\n") >= 3, said
        with schedule.client(server) as prefect:  # as the command made it, but with less patience
            schedule.ensure_automation(prefect, timedelta(seconds=40))

        (run,) = until(lambda: flow_runs(server, "RUNNING"), 110, "scheduled run")
        assert run["auto_scheduled"]
        stage = int(wait_for(root / "fetch.pid", 40))
        child = int(wait_for(root / "child.pid"))

        # By hand, as an alert would: the first one goes on, so this one is cancelled.
        deployment = httpx.get(f"{server}/deployments/name/line/one", trust_env=False).json()
        second = httpx.post(f"{server}/deployments/{deployment['id']}/create_flow_run", json={}, trust_env=False).json()
        until(lambda: second["id"] in [gone["id"] for gone in flow_runs(server, "CANCELLED")], 60, "cancelled run")
        assert alive(stage)
        assert runs(root, "fetch") == 1

        worker = next(found for found in psutil.Process(process.pid).children() if "worker" in found.cmdline())
        doomed = [worker, *worker.children(recursive=True)]
        for dead in doomed:
            dead.kill()
        until(lambda: not alive(stage) and not alive(child), 15, "end of the orphaned stage")
        until(lambda: process.poll() is not None, 20, "end of the command")
        assert process.returncode == 1
        assert "the worker ended with exit code -9" in log.read_text()
        assert [found["id"] for found in flow_runs(server, "RUNNING")] == [run["id"]], "nobody has told the server"
        until(lambda: run["id"] in [gone["id"] for gone in flow_runs(server, "CRASHED")], 100, "crashed run")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)

    gone = metroline(root, "schedule", "one", "--remove", env=environment(PREFECT_API_URL=server))
    assert (gone.returncode, gone.stdout) == (0, "one is off the schedule\n"), gone.stderr
    again = metroline(root, "schedule", "one", "--remove", env=environment(PREFECT_API_URL=server))
    assert (again.returncode, again.stdout) == (0, "one was not on the schedule\n")


def test_prefect_deploy_makes_the_same_deployment(root: Path, server: str) -> None:
    schedule.register(server, "one", schedule.cron_schedule("0 3 * * *", "UTC"), root)
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], cwd=root, capture_output=True, text=True,
        env=environment(PREFECT_API_URL=server, DO_NOT_TRACK="1"), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = (
        httpx.get(f"{server}/deployments/name/line/{name}", trust_env=False).json() for name in ("one", "speeches")
    )
    for key in (
        "entrypoint",
        "work_pool_name",
        "tags",
        "description",
        "concurrency_options",
    ):
        assert ours[key] == theirs[key], key
    assert ours["parameter_openapi_schema"]["properties"] == theirs["parameter_openapi_schema"]["properties"]
    assert ours["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert ours["global_concurrency_limit"]["limit"] == theirs["global_concurrency_limit"]["limit"] == 1
    assert [one["schedule"]["cron"] for one in ours["schedules"]] == ["0 3 * * *"]
    schedule.register(server, "one", schedule.cron_schedule("0 4 * * *", "UTC"), root)
    again = httpx.get(f"{server}/deployments/name/line/one", trust_env=False).json()
    assert [one["schedule"]["cron"] for one in again["schedules"]] == ["0 4 * * *"], "replaced, not added"


def test_the_command_brings_its_own_server_and_takes_it_away(project_with_prefect: Path) -> None:
    """Also behind a proxy, with the password of a server elsewhere, and where certificates are gone."""
    root = project_with_prefect
    elsewhere = environment(
        HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="socks://127.0.0.1:9", NO_PROXY="[::1]", SSL_CERT_FILE="/gone.pem",
        PREFECT_SERVER_API_AUTH_STRING="admin:pw", PREFECT_SERVER_API_BASE_PATH="/elsewhere",
    )  # fmt: skip
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "pipelines.commands.cli",
        "schedule",
        "two",
        "--cron",
        "0 3 * * *",
        "--port",
        str(port),
    ]
    log = root / "own.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=root, env=elsewhere, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: "a worker runs here" in log.read_text() or process.poll() is not None, 90, "worker")
        assert process.poll() is None, log.read_text()
        assert log.read_text().startswith("warning: ALL_PROXY is ignored: ")
        assert servers.local_server(root) == f"http://127.0.0.1:{port}/api"
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0, log.read_text()
    assert not any(alive(member.pid) for member in family)
    assert servers.local_server(root) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "when is one to run?"),
        (["one", "--cron", "0 3 * *"], "'0 3 * *' is not a cron schedule"),
        (["one", "--cron", "soon"], "'soon' is not a cron schedule"),
        (["one", "--cron", "99 3 * * *"], "is not a cron schedule"),
        (["one", "--cron", "0 3 * * *", "--timezone", "Mars/Base"], "no time zone 'Mars/Base'"),
        (["ones", "--cron", "0 3 * * *"], "did you mean one?"),
        (["--cron", "0 3 * * *"], "which recipe?"),
        (["one", "--cron", "0 3 * * *", "--remove"], "exclude each other"),
        (["one", "--cron", "0 3 * * *", "--register-only"], "no Prefect server runs"),
    ],
)
def test_bad_input(project: Path, arguments: list[str], message: str) -> None:
    done = invoke("schedule", *arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_no_server_there(project: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    for command in (["schedule", "one", "--cron", "0 3 * * *"], ["run", "one"]):
        done = invoke(*command, PREFECT_API_URL=url)
        assert (done.exit_code, done.stderr.splitlines()[-1][:51]) == (
            1,
            "error: no Prefect server answers at PREFECT_API_URL",
        ), done
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "prefect.yaml: "),
        ("deployments: []", "lacks "),
        ("deployments: [", "while parsing"),
        ("deployments: [{}]", "lacks 'concurrency_limit'"),
    ],
)
def test_a_broken_prefect_yaml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(MetrolineError, match=message):
        schedule.Deployment.read(tmp_path)
