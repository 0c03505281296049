"""A real Prometheus with a real node-exporter on free loopback ports."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from monitoring_tools import compose_command, free_port, program, wait_for

from serving.monitoring.promql import FOLDER, Prometheus

ROOT = Path(__file__).parents[3]


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


STAGES = """
import sys
from data.errors import MetrolineError
from pipelines.stages import run
for recipe in sys.argv[1:]:
    try:
        for stage in ("fetch", "prepare", "train"):
            run(stage, recipe)
    except MetrolineError as error:
        print("error:", error)
"""


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts folder of two real training runs: `tiny`, and `diverging`, whose learning rate is absurd."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "data/examples", root / "data/examples")
    (root / "pipelines/recipes").mkdir(parents=True)
    recipe = yaml.safe_load((ROOT / "pipelines/recipes/tiny.yaml").read_text(encoding="utf-8"))
    for name, changes in (
        ("tiny", {}),
        ("diverging", {"optimizer": "adamw", "lr": 1e30, "adam_lr": None, "warmup": 0}),
    ):
        changed = {**recipe, "train": {**recipe["train"], **changes}}
        (root / f"pipelines/recipes/{name}.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", STAGES, "tiny", "diverging"],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "loss nan" in done.stdout, done.stdout
    return root / "artifacts"
