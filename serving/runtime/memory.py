"""Memory of a worker: give back to the system what is not used."""

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 4 << 20
"""Bytes; what a step of a model asks for again and again is smaller, or is kept by ONNX Runtime itself."""


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
