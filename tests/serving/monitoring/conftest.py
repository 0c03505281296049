"""A real Prometheus with a real node-exporter on free loopback ports."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from serving.monitoring.promql import Prometheus
from serving.monitoring.stack import PROGRAMS, Stack
from tests.serving.monitoring.monitoring_tools import program

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


@pytest.fixture(scope="session")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Path], Prometheus]]:
    """`monitored(endpoint, artifacts)` starts node-exporter over `artifacts` and a Prometheus that scrapes both.

    They run with compose.yaml's arguments and with our prometheus.yml, but each second.
    """
    with ExitStack() as started:

        def start(endpoint: str, artifacts: Path) -> Prometheus:
            for names in PROGRAMS.values():
                program(*names)
            data = tmp_path_factory.mktemp("prometheus")
            return started.enter_context(Stack(endpoint, artifacts, data, seconds=1)).prometheus

        yield start


STAGES = """
import sys
from base.errors import MetrolineError
from pipelines.line.stages import run
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
