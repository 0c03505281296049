"""Memory goes back to the system when it is freed (each try needs a process of its own); where control sockets lie;
what is said of a worker's end.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import zmq

from serving.app.processes import log_end, private_folder

GROWTH = """
import sys
import numpy as np
import psutil
from serving.runtime.memory import keep_no_memory

if sys.argv[1] == "with":
    keep_no_memory()
resident = psutil.Process().memory_info
before = resident().rss
for _ in range(3):
    np.ones(16 << 20, np.uint8)
print(resident().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_goes_back_to_the_system():
    grown = {}
    for setting in ("with", "without"):
        done = subprocess.run([sys.executable, "-c", GROWTH, setting], capture_output=True, text=True, check=True)
        grown[setting] = int(done.stdout)
    assert grown["with"] < 4 << 20
    assert grown["without"] > 12 << 20, "glibc has changed: keep_no_memory may no longer be needed"


@pytest.mark.parametrize("name", ["short", "long" * 30])
@pytest.mark.parametrize("set_by", ["METROLINE_METRICS_FOLDER", "TMPDIR"])
def test_sockets_have_room_wherever_temporary_files_lie(monkeypatch, name, set_by):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # pytest's own may be long
        parent = Path(short) / name
        parent.mkdir()
        monkeypatch.delenv("METROLINE_METRICS_FOLDER", raising=False)
        monkeypatch.setenv(set_by, str(parent))
        monkeypatch.setattr(tempfile, "tempdir", None)
        folder = Path(private_folder())
        try:
            assert (folder.parent == parent) == (name == "short")
            assert folder.stat().st_mode & 0o777 == 0o700
            with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
                socket.bind(f"ipc://{folder}/commands")
                assert os.listdir(folder) == ["commands"]
        finally:
            shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (0, None),
        (-signal.SIGTERM, None),
        (-signal.SIGINT, None),
        (-signal.SIGKILL, {"pid": 7, "signal": "SIGKILL"}),
        (-signal.SIGSEGV, {"pid": 7, "signal": "SIGSEGV"}),
        (3, {"pid": 7, "exit_code": 3}),
    ],
)
def test_an_end_in_order_is_no_error(monkeypatch, code, how):
    said = []
    monkeypatch.setattr("serving.app.processes.log.error", lambda event, extra: said.append((event, extra["fields"])))
    log_end(code, 7)
    assert said == ([("worker ended", how)] if how else [])
