"""Process housekeeping that the supervisor and its workers share."""

import ctypes
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1

LOOK = 0.5
"""Seconds between two looks of the supervisor at its workers."""


def look_closely() -> None:
    """In the supervisor, before it starts its workers: let it see within LOOK seconds that one was killed.

    BentoML has circus, which supervises, look every 10 s, and has no setting for it. In a container BentoML leaves a
    killed worker to whatever runs the container.
    """
    from bentoml._internal.utils import circus

    class CloseArbiter(circus.Arbiter):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "check_delay": LOOK})

    vars(circus)["Arbiter"] = CloseArbiter


def release_memory() -> None:
    """Give back to the system what loading a model has left unused: 80 to 150 MB of a 170 MB graph (malloc_trim(3)).

    With glibc only; elsewhere it does nothing.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the thread that started this process ends: none is left behind (prctl(2)).

    Linux only; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
