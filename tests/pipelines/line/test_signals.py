"""One wish to stop may come as several SIGTERMs, from make or systemd: none of them cuts short what the first began."""

import os
import signal
import subprocess
import sys

import pytest

LINE = """
import os, signal
from pipelines.commands.cli import _exit_on_sigterm
_exit_on_sigterm()
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    print("saved", flush=True)
"""


def test_a_second_sigterm_does_not_cut_the_saving_short() -> None:
    from pipelines.training.stop import Stopped, StopRequest

    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)


def test_nor_the_end_of_the_stages() -> None:
    done = subprocess.run([sys.executable, "-c", LINE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "saved\n", "")
