"""Process housekeeping that the supervisor and its workers share."""

import ctypes
import gc
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 4 << 20
"""Bytes; what a step of a model asks for again and again is smaller, or is kept by ONNX Runtime itself."""

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


def keep_no_memory() -> None:
    """Let memory that is freed go back to the system: large pieces at once, always (mallopt(3)).

    glibc by itself keeps ever larger ones for later, up to 32 MB each: 40 MB after a few prompts. With glibc only;
    elsewhere it does nothing.
    """
    if libc := _glibc():
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)


def release_memory() -> None:
    """Give back to the system what loading a model has left unused: 80 to 150 MB of a 170 MB graph (malloc_trim(3)).

    And let the garbage collector never look again at what is there now: it would stop all streams for 20 ms each time.
    """
    gc.collect()
    gc.freeze()
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        return libc
    return None


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the thread that started this process ends: none is left behind (prctl(2)).

    Linux only; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
