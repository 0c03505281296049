"""What the monitoring tests share: programs that must be there, free ports, and waiting."""

import os
import shutil
import socket
import time
from collections.abc import Callable

import httpx
import pytest
import yaml

from serving.monitoring.promql import FOLDER


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
