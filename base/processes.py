"""Processes and ports: none is left behind, none is taken twice."""

import ctypes
import ipaddress
import os
import signal
import socket
import sys
import time
from contextlib import suppress

import psutil

from base.errors import MetrolineError

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the thread that started this process ends: none is left behind (prctl(2)).

    Linux only; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop_group(group: int, grace: float) -> None:
    """End every process of a process group: SIGTERM, after `grace` seconds SIGKILL; a second Ctrl-C does not wait."""
    if not _running(group):
        return
    try:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while _running(group) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
            killed = time.monotonic()
            while _running(group) and time.monotonic() - killed < 5:
                time.sleep(0.01)


def _running(group: int) -> bool:
    """Whether a process of the group is left. Zombies, which nobody may ever reap in a container, do not count."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def free_port(host: str = "127.0.0.1", port: int = 0) -> int:
    """`port` when it can be listened on, or for 0 one that can. Raises MetrolineError."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        hint = "127.0.0.1 for this machine alone, 0.0.0.0 for others too"
        raise MetrolineError(f"cannot listen on {host}, which is no IP address", hint=hint) from None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            hint = "another server may be running; choose one with --port"
            raise MetrolineError(f"cannot listen on {host}:{port}: {error}", hint=hint) from None
        return int(probe.getsockname()[1])


def next_free_port(port: int, host: str = "127.0.0.1", tries: int = 50) -> int:
    """`port`, or the next one that nobody listens on. Raises MetrolineError when all of `tries` are taken."""
    for candidate in range(port, min(port + tries, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, candidate))
            return candidate
    raise MetrolineError(f"no free port from {port} on", hint="choose another one with --port")
