"""Where and in what arithmetic training runs: device, precision, the machine's peak, determinism, memory, compilation.

Every choice is a function of the machine and the recipe, never of a timing, so that the same machine repeats its bits.
"""

import contextlib
import ctypes
import os
import sys
import time
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import nn

from base.errors import MetrolineError

VARIABLE = "METROLINE_DEVICE"

# Dense bf16 matrix products of a GPU, in floating-point operations per second, from the vendors' data sheets.
PEAKS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "B200": 2250e12, "A100": 312e12, "A10G": 70e12, "L40S": 362e12,
    "L4": 121e12, "RTX 4090": 165e12, "MI300X": 1307e12,
}  # fmt: skip


def choose(wanted: str) -> torch.device:
    """The device for `wanted` (METROLINE_DEVICE comes first); under torchrun, each process its own GPU.

    Raises MetrolineError: not a device, or one that is not there.
    """
    name = os.environ.get(VARIABLE) or wanted
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise MetrolineError(f"no such device: {name}", hint="auto, cpu, cuda, cuda:1, mps") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise MetrolineError(f"device {name}: PyTorch sees no GPU here", hint="use device auto or cpu")
        index = int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise MetrolineError(f"device {name}: there are {torch.cuda.device_count()} GPUs, counted from 0")
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MetrolineError("device mps is not here", hint="use device auto or cpu")
    if device.type not in ("cpu", "mps"):
        raise MetrolineError(f"training does not know device {name}", hint="auto, cpu, cuda, cuda:1, mps")
    return device


def bf16_units(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than float32 ones.

    On a CPU that takes AMX tiles: with AVX512-BF16 alone PyTorch's run at half the speed of float32 (measured on a
    Sapphire Rapids core with AMX masked: 180 against 350 GFLOP/s).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def precision(wanted: str, device: torch.device) -> str:
    """`auto` resolved to fp32, bf16 or fp16. Raises MetrolineError for one that the device does not have."""
    if wanted == "auto":
        return "bf16" if bf16_units(device) else "fp32"
    if wanted == "fp16" and device.type == "mps":
        raise MetrolineError("precision fp16 needs loss scaling, which is not there on mps", hint="use fp32 or bf16")
    return wanted


def autocast(device: torch.device, kind: str) -> contextlib.AbstractContextManager[Any]:
    """The context in which the forward pass runs; none for fp32."""
    if kind == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if kind == "bf16" else torch.float16)


def scaler(device: torch.device, kind: str) -> torch.amp.GradScaler:
    """Loss scaling for fp16, whose small gradients vanish otherwise; disabled for the others."""
    return torch.amp.GradScaler(device.type, enabled=kind == "fp16")


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Within it a GPU takes deterministic algorithms; on a CPU those used here are deterministic anyway."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = filled


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse large blocks instead of returning each to the kernel. True where it took effect.

    Activations of tens of MiB are allocated and freed at every step, and each time the kernel would hand out zeroed
    pages anew: that was a tenth of a step on a CPU. No numbers change.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
    return bool(mallopt(m_mmap_threshold, 1 << 30) and mallopt(m_trim_threshold, -1))


@cache
def peak(device: torch.device, kind: str) -> tuple[float, str]:
    """(floating-point operations per second, where the number is from): a data sheet's, or matrix products timed
    once in a process.

    Only for MFU (model FLOPs utilisation: how much of the peak training used); takes about 0.2 s on a CPU.
    """
    if device.type == "cuda" and kind != "fp32":
        name = torch.cuda.get_device_name(device)
        for part, value in PEAKS.items():
            if part in name:
                return value, f"data sheet of {part}, dense bf16"
    size = 1024 if device.type == "cpu" else 4096
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        synchronise(device)
        started = time.perf_counter()
        a @ b
        synchronise(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best, f"best of 8 products of {size} × {size} matrices in {kind}, measured at the start"


def synchronise(device: torch.device) -> None:
    """Wait for the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Compiled:
    """Calls `module` through torch.compile, or plainly, with one warning, where compiling does not work.

    `auto` compiles on CUDA only: on a CPU a compiled step was a quarter faster, but compiling took 30 s, more than
    runs of a few minutes get back. A failure is looked for at the first call; later ones are real errors.
    """

    def __init__(self, module: nn.Module, wanted: str, device: torch.device) -> None:
        self.module = module
        use = wanted == "on" or (wanted == "auto" and device.type == "cuda")
        self._compiled = torch.compile(module) if use else None
        self._proven = False

    @property
    def active(self) -> bool:
        """Whether calls go through compiled code."""
        return self._compiled is not None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What `module` returns."""
        if self._compiled is None:
            return self.module(*arguments, **options)
        if self._proven:
            return self._compiled(*arguments, **options)
        try:
            result = self._compiled(*arguments, **options)
        except Exception as error:  # the compiler's errors share no base class; a real one comes again below
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            warnings.warn(f"torch.compile does not work here, training goes on without it: {reason}", stacklevel=2)
            self._compiled = None
            return self.module(*arguments, **options)
        self._proven = True
        return result
