"""Compile the attention kernels for GPUs that are not here, and read what the compilers made of them.

    python -m kernels.aot                       # every line of the table: registers, spills, shared memory
    python -m kernels.aot --arch sm_90 --json   # for programs

Ahead-of-time compilation needs no GPU and no driver, only triton and the tools in its wheel. It says nothing of
speed; it does say that a kernel compiles, keeps its values in registers, fits shared memory and uses tensor cores.
Must run without TRITON_INTERPRET.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

from kernels import tuning
from kernels.aot_compiler import SHARED_LIMIT, Resources, compile_kernel


def compile_entry(entry: tuning.Entry, switches: Iterable[str] = ()) -> Resources:
    """Compile one line of the table for causal attention; `switches` turns features on (WINDOW, PACKED, FULL, ...)."""
    from kernels.attention import backward as triton_backward
    from kernels.attention import forward as triton_forward

    kernel = {
        "forward": triton_forward.attention_forward,
        "grad_kv": triton_backward.attention_grad_kv,
        "grad_q": triton_backward.attention_grad_q,
    }[entry.kernel]
    first, second = tuning.pieces(entry.head_size)
    constants: dict[str, Any] = {
        "GROUP": 1, "DA": first, "DB": second, "BLOCK_M": entry.config.block_m, "BLOCK_N": entry.config.block_n,
        "CAUSAL": True, "WINDOW": False, "SOFTCAP": False, "SINKS": False, "ALIBI": False, "PACKED": False,
        "PADDING": False, "ROPE": False, "NORM": False, "UPCAST": False, "PRECISION": tuning.precision(entry.arch),
    }  # fmt: skip
    for switch in switches:
        name, value = {"FULL": ("CAUSAL", False), "GROUPED": ("GROUP", 4)}.get(switch, (switch, True))
        constants[name] = value
    element = "*bf16" if entry.bytes_per_element == 2 else "*fp32"
    return compile_kernel(kernel, entry.arch, element, constants, entry.config.warps, entry.config.stages)


def compile_other(kernel: str, arch: str) -> Resources:
    """Compile a kernel that is not in the table, bfloat16, head size 128, with the features that a model may want."""
    from kernels.attention import backward as triton_backward
    from kernels.attention import paged_kernel as triton_paged
    from kernels.attention import query as triton_query
    from kernels.cross_entropy import triton_cross_entropy

    head: dict[str, Any] = {"DA": 128, "DB": 0}
    query = head | {"BLOCK_M": 64, "ROPE": True, "NORM": True}
    kernels: dict[str, tuple[Any, dict[str, Any]]] = {
        "delta": (triton_backward.attention_delta, head | {"BLOCK_M": 64, "LSE": True}),
        "query_forward": (triton_query.query_forward, query),
        "query_backward": (triton_query.query_backward, query),
        "paged_split": (
            triton_paged.paged_split,
            head
            | {"GROUP": 4, "PAGE": 16, "BLOCK_G": 16, "BLOCK_N": 64, "SPLITS": 8, "WINDOW": True, "SOFTCAP": False}
            | {"ALIBI": False, "ROPE": True, "NORM": True, "UPCAST": False, "PRECISION": tuning.precision(arch)},
        ),
        "paged_combine": (triton_paged.paged_combine, head | {"SPLITS": 8, "SINKS": True}),
        "cross_entropy": (
            triton_cross_entropy.cross_entropy_rows,
            {"BLOCK": 8192, "TRAINING": True, "SCALE": True, "SMOOTHING": True},
        ),
    }
    chosen, constants = kernels[kernel]
    warps = 8 if kernel == "cross_entropy" else 4
    return compile_kernel(chosen, arch, "*bf16", constants, warps, 3)


OTHERS = ("delta", "query_forward", "query_backward", "paged_split", "paged_combine", "cross_entropy")


class Job(NamedTuple):
    """One kernel to compile: a line of the table with features, or one of `OTHERS` for an architecture."""

    arch: str
    entry: tuning.Entry | None = None
    switches: tuple[str, ...] = ()
    other: str = ""

    @property
    def name(self) -> str:
        """`sm_90 forward 64 bf16 long`, and the features that are on."""
        if self.entry is None:
            return f"{self.arch} {self.other}"
        dtype = "bf16" if self.entry.bytes_per_element == 2 else "fp32"
        return " ".join(
            [self.arch, self.entry.kernel, str(self.entry.head_size), dtype, self.entry.bucket, *self.switches]
        )

    def run(self) -> Resources:
        """Compile it."""
        return compile_other(self.other, self.arch) if self.entry is None else compile_entry(self.entry, self.switches)


def gated(entry: tuning.Entry) -> bool:
    """Whether the entry must compile without spills; on AMD only the half-precision forward pass does."""
    return entry.arch != "gfx942" or (entry.kernel == "forward" and entry.bytes_per_element == 2)


# What models combine: gpt-oss, Gemma 2, MPT, Qwen3, encoders, grouped queries over packed documents.
_FORWARD = (("FULL",), ("WINDOW", "SINKS"), ("WINDOW", "SOFTCAP"), ("ALIBI",), ("ROPE", "NORM"), ("FULL", "PADDING"))
_BACKWARD = (("FULL",), ("PACKED", "GROUPED"), ("WINDOW", "SOFTCAP"), ("ALIBI",), ("FULL", "PADDING"))


def features(entry: tuning.Entry) -> tuple[tuple[str, ...], ...]:
    """Features to compile a line of the table with, besides causal attention alone: on sm_90, in half precision."""
    if entry.arch != "sm_90" or entry.bytes_per_element != 2 or entry.head_size not in (64, 128):
        return ()
    if entry.bucket == "short":
        return (("PACKED",),)  # documents always run with the short configuration
    every = _FORWARD if entry.kernel == "forward" else _BACKWARD
    return every if entry.head_size == 64 else every[:2]


def jobs(arch: str | None = None) -> list[Job]:
    """What to compile: every gated line of the table alone, some with features, and the kernels outside the table."""
    work: list[Job] = []
    for entry in tuning.entries():
        if gated(entry) and arch in (None, entry.arch):
            work += [Job(entry.arch, entry, switches) for switches in ((), *features(entry))]
    nvidia = [name for name in tuning.ARCHITECTURES if name != "gfx942" and arch in (None, name)]
    return work + [Job(name, other=other) for name in nvidia for other in OTHERS]


def _run(job: Job) -> tuple[str, Resources]:
    return job.name, job.run()


def compile_all(work: list[Job], workers: int) -> dict[str, Resources]:
    """Compile in `workers` processes; by `Job.name`."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return dict(pool.map(_run, work))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kernels.aot",
        description="Compile the attention kernels for GPUs that are not here, and show what came out.",
    )
    parser.add_argument("--arch", choices=tuning.ARCHITECTURES, help="only for this one")
    parser.add_argument("--json", action="store_true", help="print JSON, as tests/kernels/resources.json is")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        sys.exit("kernels.aot: unset TRITON_INTERPRET, which replaces the compiler")
    results = compile_all(jobs(arguments.arch), arguments.workers)
    if arguments.json:
        import triton

        lines = ",\n".join(f"  {json.dumps(key)}: {list(value)}" for key, value in results.items())
        fields = json.dumps(Resources._fields)
        print(f'{{"triton": "{triton.__version__}", "fields": {fields}, "kernels": {{\n{lines}\n}}}}')
        return
    print(f"{'kernel':46} {'registers':>9} {'spilled':>8} {'shared':>8} {'limit':>8} {'tensor':>7}")
    for key, value in results.items():
        limit = SHARED_LIMIT[key.split()[0]]
        print(f"{key:46} {value.registers:9} {value.spilled:8} {value.shared:8} {limit:8} {value.tensor_core:7}")


if __name__ == "__main__":
    main()
