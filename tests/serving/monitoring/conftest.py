"""A real Prometheus with a real node-exporter on free loopback ports."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from monitoring_tools import compose_command, free_port, program, wait_for

from serving.monitoring.promql import FOLDER, Prometheus


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


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


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifacts folder with the metrics.prom of two recipes, written by hand."""
    folder = tmp_path_factory.mktemp("artifacts")
    values = {"loss": 3.0, "valid_loss": 3.1, "tokens_per_second": 6800, "mfu_ratio": 0.3, "gradient_norm": 1,
              "step_seconds": 0.1, "data_wait_seconds": 0.001, "step": 100, "running": 1,
              "last_success_timestamp_seconds": time.time() - 4000}  # fmt: skip
    for recipe in ("tiny", "other"):
        lines = [f'metroline_train_{name}{{recipe="{recipe}"}} {value}\n' for name, value in values.items()]
        (folder / recipe / "training").mkdir(parents=True)
        (folder / recipe / "training/metrics.prom").write_text("".join(lines))
    return folder
