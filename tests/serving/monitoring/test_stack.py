"""`python -m serving.monitoring.stack`: starting, ending, and what it says to bad input."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from base.errors import MetrolineError
from serving.monitoring.promql import FOLDER
from serving.monitoring.stack import PROGRAMS, Stack, configuration, main
from tests.serving.monitoring.monitoring_tools import program, wait_for

pytestmark = pytest.mark.prometheus


@pytest.fixture(autouse=True)
def programs():
    for names in PROGRAMS.values():
        program(*names)


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_configuration_differs_in_addresses_only():
    committed = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    addresses = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in committed["scrape_configs"]}
    assert "alerting" not in yaml.safe_load(configuration(addresses)), "nobody is there to be told"
    (told,) = committed["alerting"]["alertmanagers"]
    ours = yaml.safe_load(configuration({**addresses, "alertmanager": told["static_configs"][0]["targets"][0]}))
    assert ours.pop("rule_files") == [str(FOLDER / name) for name in committed.pop("rule_files")]
    assert ours == committed
    with pytest.raises(KeyError):
        configuration({"metroline": "127.0.0.1:1"})


def running(process: psutil.Process) -> bool:
    """Whether it still does anything (one whose parent was killed may stay as a zombie where nobody reaps it)."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_command_line_runs_until_a_signal_and_leaves_nothing(tmp_path, number):
    command = [sys.executable, "-m", "serving.monitoring.stack", "--port", "0", "--data", str(tmp_path / "data")]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    url = started.stdout.readline().split()[1]
    children = psutil.Process(started.pid).children()
    assert {os.path.basename(child.exe()) for child in children} >= {"prometheus"}
    assert len(children) == 2
    assert httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
    started.send_signal(number)
    assert started.wait(timeout=30) == (0 if number != signal.SIGKILL else -number)
    wait_for(lambda: not any(map(running, children)), "both ended")
    assert started.stderr is not None
    assert started.stderr.read() == ""


def test_a_program_that_ends_is_told(tmp_path):
    with Stack("http://127.0.0.1:1", tmp_path, tmp_path / "data") as stack:
        assert stack.ended() is None
        stack._running[0].kill()
        wait_for(lambda: stack.ended() == "node-exporter", "node-exporter is missed")


def test_a_folder_in_use(tmp_path):
    with Stack("http://127.0.0.1:1", tmp_path, tmp_path / "data"):
        pass
    with (
        Stack("http://127.0.0.1:1", tmp_path, tmp_path / "data"),
        pytest.raises(MetrolineError, match="another Prometheus uses"),
        Stack("http://127.0.0.1:1", tmp_path, tmp_path / "data"),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--endpoint", "127.0.0.1:3000"], "not an endpoint's address"),
        (["--endpoint", "https://127.0.0.1:3000"], "not an endpoint's address"),
        (["--endpoint", "http://127.0.0.1:port"], "not an endpoint's address"),
        (["--endpoint", "http://[::1"], "not an endpoint's address"),
        (["--endpoint", "http://127.0.0.1:3000/metrics"], "not an endpoint's address"),
        (["--port", "65536"], "not a number from 0 to 65535"),
        (["--port", "-1"], "not a number from 0 to 65535"),
        (["--port", "TAKEN"], "cannot listen on"),
    ],
)
def test_bad_input(tmp_path, taken, arguments, message):
    arguments = [str(taken) if argument == "TAKEN" else argument for argument in arguments]
    with pytest.raises(MetrolineError, match=message):
        main(["--data", str(tmp_path / "data"), *arguments])
    assert not (tmp_path / "data").exists()


def test_a_missing_program(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetrolineError, match=r"is not installed \(apt-get install prometheus"):
        Stack("http://127.0.0.1:1", tmp_path, tmp_path / "data")
