"""Programs that these tests need, and a real Prometheus with node-exporter on free loopback ports."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from serving.monitoring.promql import FOLDER, Prometheus


def program(*names: str) -> str:
    """The first of these programs that is there. Without any the test is skipped, but on CI (CI=true) it fails."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    reason = f"needs {' or '.join(names)}: apt-get install prometheus prometheus-node-exporter"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Poll until `condition()` is true; a refused connection counts as false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {seconds:.0f} s")


def compose_command(service: str) -> list[str]:
    """The arguments that compose.yaml starts a service with."""
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"][service]["command"]


@pytest.fixture(scope="session")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Path], Prometheus]]:
    """`monitored(endpoint, artifacts)` starts node-exporter over `artifacts` and a Prometheus that scrapes both.

    They run with compose.yaml's arguments and with our prometheus.yml; only addresses and intervals differ.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(endpoint: str, artifacts: Path) -> Prometheus:
        folder = tmp_path_factory.mktemp("prometheus")
        exporter_port, port = free_port(), free_port()
        exporter = [
            argument.replace("/artifacts/", f"{artifacts}/").replace(":9100", f":{exporter_port}")
            for argument in compose_command("node-exporter")
        ]
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
        addresses = {"metroline": endpoint.removeprefix("http://"), "training": f"127.0.0.1:{exporter_port}",
                     "prometheus": f"127.0.0.1:{port}"}  # fmt: skip
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [addresses.pop(job["job_name"])]}]
        assert not addresses, f"prometheus.yml does not scrape {addresses}"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        moved = {"/etc/prometheus/": f"{folder}/", "=/prometheus": f"={folder}/data", ":9090": f":{port}"}
        server = compose_command("prometheus")
        for here, there in moved.items():
            server = [argument.replace(here, there) for argument in server]
        with (folder / "log").open("wb") as log:
            for command in (
                [program("prometheus-node-exporter", "node_exporter"), *exporter],
                [program("prometheus"), *server],
            ):
                started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        wait_for(
            lambda: httpx.get(f"{prometheus.url}/-/ready").status_code == 200, f"Prometheus ready (see {folder}/log)"
        )
        return prometheus

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=20)
