"""What the monitoring tests share: programs that must be there, and waiting."""

import os
import shutil
import time
from collections.abc import Callable

import httpx
import pytest

from serving.monitoring.stack import INSTALL


def program(*names: str) -> str:
    """The first of these programs that is there. Without any the test is skipped, but on CI (CI=true) it fails."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    reason = f"needs {' or '.join(names)}: apt-get install {INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


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
