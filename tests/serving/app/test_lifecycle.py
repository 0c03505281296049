"""A worker that goes down asks whether others take its requests: by their processes, and by what they left behind."""

import os
import subprocess
import sys

import psutil
import pytest

from serving.app.lifecycle import others_listen

WORKER = [sys.executable, "-c", "import sys; sys.stdin.read()", "_bentoml_impl.worker.service"]
STARTED = """
import asyncio, os
from pathlib import Path
from serving.app.lifecycle import Lifecycle
from serving.runtime.runtime import Runtime
from serving.http.settings import Settings

mark = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / f"draining-{os.getpid()}"
mark.touch()

async def start():
    Lifecycle(Runtime()).start(Settings())

asyncio.run(start())
assert not mark.exists()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The workers' shared one; this process takes itself for a child of its own."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(os, "getppid", os.getpid)
    return tmp_path


def test_a_worker_that_has_just_ended_says_nothing_about_the_others(folder):
    ended = subprocess.Popen(["true", "_bentoml_impl.worker.service"])
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        assert ended.returncode is None
    assert not others_listen()
    with subprocess.Popen(WORKER, stdin=subprocess.PIPE) as other:
        order = [child.pid for child in psutil.Process().children()]
        assert order.index(ended.pid) < order.index(other.pid)
        assert others_listen()
        (folder / f"draining-{other.pid}").touch()
        assert not others_listen()
        other.stdin.close()
    ended.wait()


def test_a_new_worker_with_the_number_of_an_old_one_is_not_taken_for_draining(tmp_path):
    """Process numbers are used again."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", STARTED], env=environment, check=True, timeout=60)
