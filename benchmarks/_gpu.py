"""What the benchmarks of kernels share: a GPU or a plain word that there is none, medians, errors, results."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HEAD_START = 4_000_000  # clock cycles, about 2 ms


def need_gpu(name: str) -> torch.device:
    """The GPU; without one, print that the benchmark was skipped and end well."""
    if not torch.cuda.is_available():
        print(json.dumps({"name": name, "skipped": "needs an NVIDIA or AMD GPU"}))
        sys.exit(0)
    return torch.device("cuda")


def median_ms(function: Callable[[], Any], device: torch.device) -> float:
    """Median milliseconds of a call after warm-up: by device events on a GPU, by the clock elsewhere."""
    if device.type == "cuda":
        return _device_ms(function)
    function()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        function()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def _device_ms(function: Callable[[], Any], repeats: int = 40) -> float:
    """Median milliseconds that the GPU works on a call, from a second-level cache without its inputs.

    The GPU first idles for a while, so that the host has launched everything by the time it starts: what the host
    takes to launch (each backend in another language) is not what is compared.
    """
    flush = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda")
    for _ in range(3):
        function()
    pairs = []
    for _ in range(repeats):
        pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        flush.zero_()
        torch.cuda._sleep(HEAD_START)
        pair[0].record()
        function()
        pair[1].record()
        pairs.append(pair)
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs)


def maybe(make: Callable[[], Callable[[], Any]], device: torch.device) -> float | None:
    """`median_ms` of a baseline that `make` makes, or None where this PyTorch or this GPU does not have it."""
    try:
        return median_ms(make(), device)
    except (RuntimeError, ImportError, NotImplementedError, AttributeError) as error:
        print(f"  a baseline does not run here: {str(error).splitlines()[0]}", file=sys.stderr)
        return None


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """‖actual - expected‖ / ‖expected‖ in float64; not a number when either has one."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float(torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected))


def geometric_mean(values: list[float]) -> float | None:
    """Of ratios; None of none."""
    return statistics.geometric_mean(values) if values else None


def versions(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured with."""
    import triton

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda}


class Gate:
    """A bound on the geometric mean of ratios (baseline's time over ours: above 1 is faster than it)."""

    def __init__(self, name: str, accept: float) -> None:
        self.name, self.accept, self.ratios = name, accept, list[float]()

    def add(self, ours: float, baseline: float | None) -> None:
        """Take one measurement, in any unit; a baseline that does not run counts for nothing."""
        if baseline is not None:
            self.ratios.append(baseline / ours)

    def result(self) -> dict[str, Any]:
        """For the result file. `ok` is None where no baseline ran: not measured is not passed."""
        mean = geometric_mean(self.ratios)
        worst = min(self.ratios) if self.ratios else None
        return {
            "gate": self.name,
            "ratio": mean,
            "worst": worst,
            "accept": f">= {self.accept}",
            "ok": None if mean is None else mean >= self.accept,
        }
