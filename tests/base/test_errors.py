"""How a command line ends: with its own status, with one line, or by Ctrl-C."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("body", "status", "shown"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("raise MetrolineError('no such file: a', hint='b?')", 1, "error: no such file: a (b?)\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_the_end(body: str, status: int, shown: str) -> None:
    code = f"from base.errors import MetrolineError, exit_with\ndef main(): {body}\nexit_with(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (status, shown, "")


def test_a_bug_keeps_its_traceback() -> None:
    code = "from base.errors import exit_with\nexit_with(lambda: 1 // 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr.splitlines()[-1]
    assert "Traceback" in done.stderr
