"""Which tile sizes, warps and pipeline stages each attention kernel runs with: one table, no tuning at run time.

Autotuning would time every new length again, fail in the interpreter, and make a run's speed depend on its first
step. The table is keyed by architecture, kernel, head size, bytes per element and length bucket; a causal and a full
attention share their entries, for the kernels skip what a mask hides. `python -m kernels.aot` compiles every entry
without a GPU: none spills. The numbers come from those resources and from common practice, not from timings, until
`benchmarks/attention.py` has run on a GPU.
"""

from typing import Literal, NamedTuple

Kernel = Literal["forward", "grad_kv", "grad_q"]
Bucket = Literal["short", "long"]
KERNELS: tuple[Kernel, ...] = ("forward", "grad_kv", "grad_q")
HEAD_SIZES = (32, 48, 64, 96, 128)
ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "gfx942")
SHORT = 1024  # tokens: up to here, and for packed documents, a length is in the bucket "short"


class Config(NamedTuple):
    """A kernel's launch parameters."""

    block_m: int  # queries in a tile
    block_n: int  # keys in a tile
    warps: int
    stages: int


class Entry(NamedTuple):
    """A line of the table."""

    arch: str
    kernel: Kernel
    head_size: int
    bytes_per_element: int
    bucket: Bucket
    config: Config


def pieces(head_size: int) -> tuple[int, int]:
    """A head size as DA + DB, powers of two, DB = 0 where one will do."""
    first = 1 << (head_size.bit_length() - 1)
    return first, head_size - first


def architecture(major: int, minor: int = 0, gcn: str = "") -> str:
    """The table's architecture for a device.

    Consumer GPUs (8.6, 8.9, 12.0) have under half the shared memory of their generation's large ones and none of the
    newer tensor-core instructions: sm_80's lines fit them.
    """
    if gcn:
        return "gfx942"
    return {9: "sm_90", 10: "sm_100", 11: "sm_100"}.get(major, "sm_80")


def precision(arch: str) -> str:
    """How products of float32 operands are made: three TF32 products come within rounding of float32, at tensor-core
    speed."""
    return "tf32x3" if arch.startswith("sm_") else "ieee"


# For each architecture, kernel and bytes per element: the head sizes up to which a configuration goes, in order.
_Steps = tuple[tuple[int, Config], ...]
_TABLE: dict[tuple[str, Kernel, int], _Steps] = {
    ("sm_80", "forward", 2): ((128, Config(128, 64, 8, 3)),),
    ("sm_80", "grad_kv", 2): ((32, Config(64, 128, 8, 2)), (64, Config(32, 128, 8, 2)), (96, Config(32, 64, 8, 2)),
                              (128, Config(64, 64, 8, 2))),
    ("sm_80", "grad_q", 2): ((64, Config(128, 64, 8, 2)), (96, Config(128, 32, 8, 2)), (128, Config(64, 64, 8, 2))),
    ("sm_90", "forward", 2): ((64, Config(128, 128, 8, 2)), (128, Config(128, 64, 8, 3))),
    ("sm_90", "grad_kv", 2): ((96, Config(64, 128, 8, 2)), (128, Config(32, 128, 8, 2))),
    ("sm_90", "grad_q", 2): ((128, Config(128, 64, 8, 2)),),
    ("sm_100", "forward", 2): ((128, Config(128, 64, 8, 3)),),
    ("sm_100", "grad_kv", 2): ((128, Config(64, 128, 8, 2)),),
    ("sm_100", "grad_q", 2): ((96, Config(128, 64, 8, 2)), (128, Config(128, 32, 8, 2))),
    ("gfx942", "forward", 2): ((128, Config(128, 64, 4, 1)),),
    ("gfx942", "grad_kv", 2): ((128, Config(32, 64, 4, 1)),),
    ("gfx942", "grad_q", 2): ((128, Config(64, 32, 4, 1)),),
}  # fmt: skip
for _arch in ARCHITECTURES:  # float32 is for checking, not for speed: small tiles, three products for one
    _TABLE[_arch, "forward", 4] = (
        (48, Config(64, 32, 4, 1)),
        (64, Config(32 if _arch == "sm_100" else 64, 32, 4, 1)),
        (96, Config(32, 16, 4, 1)),
        (128, Config(32, 16, 8, 1)),
    )
    _TABLE[_arch, "grad_kv", 4] = ((32, Config(32, 16, 4, 1)), (48, Config(16, 16, 4, 1)), (128, Config(32, 16, 4, 1)))
    _TABLE[_arch, "grad_q", 4] = ((32, Config(16, 32, 4, 1)), (96, Config(16, 16, 4, 1)), (128, Config(16, 32, 4, 1)))

# More programs, and less of a tile beyond a document's end: forward passes over short lengths.
_SHORT: dict[str, _Steps] = {
    "sm_80": ((64, Config(64, 64, 4, 2)),),
    "sm_90": ((128, Config(64, 64, 4, 2)),),
    "sm_100": ((64, Config(64, 64, 4, 2)), (96, Config(128, 64, 8, 3)), (128, Config(64, 64, 4, 2))),
}


def attention(
    arch: str, kernel: Kernel, head_size: int, bytes_per_element: int, *, length: int, packed: bool = False
) -> Config:
    """The configuration of a launch over `length` keys. Raises KeyError for an unknown architecture or head size."""
    if arch == "interpreter":  # few, but more than one, tiles in the tests' lengths
        return Config(64, 64, 4, 1)
    bucket: Bucket = "short" if length <= SHORT or packed else "long"
    return lookup(arch, kernel, head_size, bytes_per_element, bucket)


def lookup(arch: str, kernel: Kernel, head_size: int, bytes_per_element: int, bucket: Bucket) -> Config:
    """The table's line for these keys."""
    steps = _TABLE[arch, kernel, bytes_per_element]
    if bucket == "short" and kernel == "forward" and bytes_per_element == 2:
        steps = (*_SHORT.get(arch, ()), *steps)
    for largest, config in steps:
        if head_size <= largest:
            return config
    raise KeyError(head_size)


def entries() -> list[Entry]:
    """Every line of the table, those that repeat another bucket's configuration left out."""
    lines: list[Entry] = []
    for arch, kernel, size in _TABLE:
        for head_size in HEAD_SIZES:
            seen = set()
            buckets: tuple[Bucket, ...] = ("long", "short")
            for bucket in buckets:
                config = lookup(arch, kernel, head_size, size, bucket)
                if config not in seen:
                    seen.add(config)
                    lines.append(Entry(arch, kernel, head_size, size, bucket, config))
    return lines
