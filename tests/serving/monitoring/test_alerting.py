"""Alertmanager's configuration, judged by amtool, and a real Alertmanager that routes and inhibits as it says."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from base.errors import MetrolineError
from serving.monitoring.alerting import alertmanager_configuration
from serving.monitoring.promql import FOLDER, rules
from serving.monitoring.stack import PROGRAMS, Receiver, Stack, main
from tests.serving.monitoring.monitoring_tools import program, wait_for

pytestmark = pytest.mark.prometheus


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("the-shared-key-of-this-test")
    return path


def amtool(*arguments: str) -> str:
    done = subprocess.run([program("amtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("written", [False, True], ids=["as shipped", "as the stack writes it"])
def test_amtool_accepts_the_configuration(tmp_path: Path, key: Path, written: bool) -> None:
    path = FOLDER / "alertmanager.yml"
    if written:
        path = tmp_path / "alertmanager.yml"
        path.write_text(alertmanager_configuration("http://127.0.0.1:1", key, 2))
    said = amtool("check-config", str(path))
    assert "SUCCESS" in said
    assert "2 receivers" in said


def test_amtool_would_notice(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(
        (FOLDER / "alertmanager.yml").read_text().replace("receiver: nobody", "receiver: x")
    )
    done = subprocess.run([program("amtool"), "check-config", str(tmp_path / "bad.yml")], capture_output=True)
    assert done.returncode != 0


@pytest.mark.parametrize("rule", [rule for rule in rules() if "alert" in rule], ids=lambda rule: rule["alert"])
def test_drift_alone_is_a_reason_to_train(rule: dict[str, Any]) -> None:
    labels = [f"alertname={rule['alert']}", f"severity={rule['labels']['severity']}", "model=tiny"]
    found = amtool("config", "routes", "test", f"--config.file={FOLDER / 'alertmanager.yml'}", *labels).strip()
    assert found == ("retrain" if "Drift" in rule["alert"] else "nobody")


def test_every_alert_that_is_named_exists() -> None:
    names = {rule["alert"] for rule in rules() if "alert" in rule}
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    matchers = [matcher for route in config["route"]["routes"] for matcher in route["matchers"]]
    for rule in config["inhibit_rules"]:
        matchers += [*rule["source_matchers"], *rule["target_matchers"]]
    for matcher in matchers:
        label, _, value = matcher.partition("=")
        if label == "alertname":
            assert set(value.strip('~"').split("|")) <= names, matcher


class Received(ThreadingHTTPServer):
    """Takes notifications, as `metroline watch` would."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.notes: list[tuple[str, str | None, dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Received

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.notes.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def received() -> Iterator[Received]:
    with Received() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_is_sent_and_what_is_inhibited(tmp_path: Path, key: Path, received: Received) -> None:
    for names in PROGRAMS.values():
        program(*names)
    receiver = Receiver(f"http://127.0.0.1:{received.server_address[1]}", key)
    with Stack("http://127.0.0.1:1", tmp_path, tmp_path / "data", seconds=1, receiver=receiver) as stack:
        managers: list[str] = []

        def told() -> bool:
            found = stack.prometheus.get("/api/v1/alertmanagers")["activeAlertmanagers"]
            managers[:] = [each["url"].removesuffix("/api/v2/alerts") for each in found]
            return bool(managers)

        wait_for(told, "Prometheus knows its Alertmanager")
        (manager,) = managers
        fire(manager, {"alertname": "MetrolineErrors", "severity": "critical", "model": "failing"})
        time.sleep(0.5)
        for model in ("failing", "tiny"):
            fire(manager, {"alertname": "MetrolineDrift", "severity": "warning", "model": model})
        fire(manager, {"alertname": "MetrolineQueueSlow", "severity": "warning", "model": "tiny"})
        wait_for(lambda: received.notes, "a notification")
        time.sleep(2.5)
        states = {
            (alert["labels"]["alertname"], alert["labels"]["model"]): alert["status"]["state"]
            for alert in httpx.get(f"{manager}/api/v2/alerts", trust_env=False).json()
        }
    assert states["MetrolineDrift", "failing"] == "suppressed"
    assert states["MetrolineDrift", "tiny"] == states["MetrolineErrors", "failing"] == "active"
    assert {(path, sent) for path, sent, _ in received.notes} == {("/alerts", "Bearer the-shared-key-of-this-test")}
    bodies = [body for _, _, body in received.notes]
    assert {body["version"] for body in bodies} == {"4"}
    assert {alert["labels"]["model"] for body in bodies for alert in body["alerts"]} == {"tiny"}
    assert {alert["labels"]["alertname"] for body in bodies for alert in body["alerts"]} == {"MetrolineDrift"}


def fire(manager: str, labels: dict[str, str]) -> None:
    httpx.post(f"{manager}/api/v2/alerts", json=[{"labels": labels}], trust_env=False).raise_for_status()


def test_without_a_key_nothing_is_started(tmp_path: Path) -> None:
    for names in PROGRAMS.values():
        program(*names)
    arguments = ["--data", str(tmp_path / "data"), "--receiver", "http://127.0.0.1:1", "--key", str(tmp_path / "none")]
    with pytest.raises(MetrolineError, match=r"there is no key .*`metroline watch RECIPE` makes it"):
        main(arguments)
    with pytest.raises(MetrolineError, match="not an endpoint's address"):
        main([*arguments[:3], "127.0.0.1:9095", *arguments[4:]])
    assert not (tmp_path / "data").exists()
