"""A project with DVC, recipes and small real stages that do as told: the machinery is tested on it, not the training.

`behave(project, train={"seconds": 60})` tells a stage what to do; DVC does not see that file. Nothing here is a mock:
DVC, the subprocesses and Prefect are the real ones.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from typer.testing import CliRunner, Result

from base.processes import free_port
from pipelines.commands import cli
from pipelines.line import prefect_processes as servers
from pipelines.line.environment import match_git

ROOT = Path(__file__).resolve().parents[3]

DVC_YAML = """
stages:
  fetch:
    foreach: ${recipes}
    do:
      cmd: %(python)s steps.py fetch ${item}
      params: [{"pipelines/recipes/${item}.yaml": [source]}]
      outs: ["raw/${item}"]
  train:
    foreach: ${recipes}
    do:
      cmd: %(python)s steps.py train ${item}
      deps: ["raw/${item}", model.txt]
      params: [{"pipelines/recipes/${item}.yaml": [model, train]}]
      outs: ["trained/${item}"]
  evaluate:
    foreach: ${recipes}
    do:
      cmd: %(python)s steps.py evaluate ${item}
      deps: ["trained/${item}"]
      params: [{"pipelines/recipes/${item}.yaml": [evaluate]}]
      metrics: ["artifacts/${item}/metrics.json"]
"""

STEPS = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

from base.errors import MetrolineError, NetworkError
from base.progress import Progress
from pipelines.line import stages

stage, recipe = sys.argv[1:]
told = json.loads(Path("behaviour.json").read_text()).get(stage, {})
with open(f"{stage}.log", "a") as log:
    log.write("forced\\n" if os.environ.get(stages.FORCED) else "run\\n")
runs = len(Path(f"{stage}.log").read_text().splitlines())
if told.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if told.get("checkpoint"):
    def save(*_):
        time.sleep(0.5)
        Path("checkpoint").write_text("saved")
        sys.exit(1)
    signal.signal(signal.SIGTERM, save)
if told.get("child"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path("child.pid").write_text(str(child.pid))
Path(f"{stage}.pid").write_text(str(os.getpid()))
if runs <= told.get("failures", 0):
    error = (NetworkError if told.get("network") else MetrolineError)(f"{stage} cannot, try {runs}")
    stages.report(error)
    sys.exit(1)
if told.get("crash"):
    raise RuntimeError("a bug")
with stages.tied_to_owner(every=0.2), Progress(stage, total=10, unit="steps") as progress:
    for step in range(10):
        time.sleep(told.get("seconds", 0) / 10)
        progress.update(advance=1, loss=5.0 - step / 10)
print(f"{stage} says hello", flush=True)
out = {"fetch": "raw", "train": "trained"}.get(stage)
if out:
    Path(out).mkdir(exist_ok=True)
    Path(out, recipe).write_text(f"{stage} {recipe}\\n")
else:
    Path("artifacts", recipe).mkdir(parents=True, exist_ok=True)
    Path("artifacts", recipe, "metrics.json").write_text(json.dumps({"test": {"loss": 1.5}}))
"""

RECIPE = """
description: a test
licence: none
source: {kind: file, path: corpus.txt, sha256: "%s"}
pretrained: {}
data: {}
split: {}
model: {}
task: {kind: language-modelling}
train: {}
evaluate: {}
export: {}
serving: {}
release: {}
gates: []
"""


def make_project(folder: Path) -> Path:
    """Write the project with the recipes `one` and `two` into `folder`."""
    (folder / "pipelines/recipes").mkdir(parents=True)
    for name in ("one", "two"):
        (folder / f"pipelines/recipes/{name}.yaml").write_text(RECIPE % ("0" * 64))
    (folder / "params.yaml").write_text("recipes:\n- one\n- two\n")
    (folder / "dvc.yaml").write_text(DVC_YAML % {"python": sys.executable})
    (folder / "steps.py").write_text(STEPS)
    (folder / "model.txt").write_text("a model\n")
    behave(folder)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    match_git(folder)
    shutil.copy(ROOT / "prefect.yaml", folder / "prefect.yaml")
    return folder


def behave(project: Path, **stages: dict[str, Any]) -> None:
    """Tell stages what to do when they run."""
    (project / "behaviour.json").write_text(json.dumps(stages))


def runs(project: Path, stage: str) -> int:
    """How often a stage was run."""
    log = project / f"{stage}.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def metroline(project: Path, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command line in the project, as a user would."""
    command = [sys.executable, "-m", "pipelines.commands.cli", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, **options)


def plain(text: str) -> str:
    """Without colours and frames, on one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def invoke(*arguments: str, **variables: str) -> Result:
    """As `metroline`, but in this process, and without a trace in its environment."""
    with mock.patch.dict(os.environ, environment(**variables), clear=True):
        return CliRunner().invoke(cli.app, list(arguments), prog_name="metroline")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that names a project or a server."""
    drop = ("PREFECT_", "METROLINE_ROOT", "METROLINE_OWNER", "METROLINE_PROGRESS", "BENTOML_HOME", "DVC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(drop)} | more


@contextmanager
def prefect_server(root: Path, home: Path | None = None) -> Iterator[str]:
    """A real server with its state in `root`, a copy of `home` if given; yields its API address.

    Inside, the environment names no other server.
    """
    if home is None:
        (root / servers.LOGS).mkdir(parents=True)
    else:
        shutil.copytree(home, root / servers.LOGS)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(root / servers.LOGS))
        patch.setenv("DO_NOT_TRACK", "1")
        with servers.server(root, free_port(), "--no-ui") as (url, _):
            yield url


def alive(pid: int) -> bool:
    """Running, not merely unburied."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def until(find: Callable[[], Any], seconds: float, what: str) -> Any:
    """What is found, as soon as there is something."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.3)
    return found


def wait_for(path: Path, seconds: float = 20) -> str:
    """A file's text, as soon as there is some."""
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)
    return path.read_text()
