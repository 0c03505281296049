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
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from kernels import tuning

# Bytes of shared memory that one program may have: CUDA C++ Programming Guide, compute capabilities; CDNA 3 ISA.
SHARED_LIMIT = {"sm_80": 166_912, "sm_90": 232_448, "sm_100": 232_448, "gfx942": 65_536}
TENSOR_CORES = re.compile(r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA|QGMMA|v_mfma_\w+)")


class Resources(NamedTuple):
    """What a compiled kernel takes."""

    registers: int
    spilled: int  # bytes of stack and local memory; for AMD, registers spilled
    shared: int  # bytes
    tensor_core: int  # instructions


def compile_entry(entry: tuning.Entry, **switches: bool) -> Resources:
    """Compile one line of the table for causal attention; `switches` turns features on (WINDOW, PACKED, ...)."""
    from kernels import triton_backward, triton_forward

    kernel = {
        "forward": triton_forward.attention_forward,
        "grad_kv": triton_backward.attention_grad_kv,
        "grad_q": triton_backward.attention_grad_q,
    }[entry.kernel]
    first, second = tuning.pieces(entry.head_size)
    constants: dict[str, Any] = {
        "GROUP": 1, "DA": first, "DB": second, "BLOCK_M": entry.config.block_m, "BLOCK_N": entry.config.block_n,
        "CAUSAL": True, "WINDOW": False, "SOFTCAP": False, "SINKS": False, "ALIBI": False, "PACKED": False,
        "PADDING": False, "ROPE": False, "NORM": False, "UPCAST": False,
        "PRECISION": "tf32x3" if entry.arch.startswith("sm_") else "ieee",
    }  # fmt: skip
    constants |= switches
    element = "*bf16" if entry.bytes_per_element == 2 else "*fp32"
    types = {"Lse": "*fp32", "Delta": "*fp32", "Ranges": "*i32", "Padding": "*u8"}
    types |= {"scale": "fp32", "softcap": "fp32", "eps": "fp32"}
    signature = {}
    for name in kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name in types:
            signature[name] = types[name]
        else:
            signature[name] = element if (name[0].isupper() and len(name) > 1) or name in "QKV" else "i32"
    return compile_kernel(kernel, entry.arch, signature, constants, entry.config.warps, entry.config.stages)


def compile_kernel(
    kernel: Any, arch: str, signature: dict[str, str], constants: dict[str, Any], warps: int, stages: int
) -> Resources:
    """Compile any Triton kernel. Pointers and strides are taken to be multiples of 16, as in aligned tensors."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name.endswith(("_batch", "_row", "_head", "_stride"))
    }
    values = {(kernel.arg_names.index(name),): v for name, v in constants.items() if name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=values, attrs=aligned)
    amd = arch.startswith("gfx")
    target = GPUTarget("hip", arch, 64) if amd else GPUTarget("cuda", int(arch.removeprefix("sm_")), 32)
    compiled = triton.compile(source, target=target, options={"num_warps": warps, "num_stages": stages})
    return _amd(compiled) if amd else _nvidia(compiled, Path(triton.__file__).parent)


def _nvidia(compiled: Any, root: Path) -> Resources:
    tool = root / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, sass = (
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("--dump-resource-usage", "-sass")
        )
    numbers = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    spilled = numbers["STACK"] + numbers["LOCAL"]
    return Resources(numbers["REG"], spilled, compiled.metadata.shared, len(TENSOR_CORES.findall(sass)))


def _amd(compiled: Any) -> Resources:
    text = compiled.asm["amdgcn"]
    numbers = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s*(\d+)", text)}
    tensor_core = len(TENSOR_CORES.findall(text))
    return Resources(numbers["vgpr_count"], numbers["vgpr_spill_count"], compiled.metadata.shared, tensor_core)


def name(entry: tuning.Entry, switches: Iterable[str] = ()) -> str:
    """`sm_90 forward 64 bf16 long`, and the features that are on."""
    dtype = "bf16" if entry.bytes_per_element == 2 else "fp32"
    return " ".join([entry.arch, entry.kernel, str(entry.head_size), dtype, entry.bucket, *switches])


def gated(entry: tuning.Entry) -> bool:
    """Whether the entry must compile without spills; on AMD only the half-precision forward pass does."""
    return entry.arch != "gfx942" or (entry.kernel == "forward" and entry.bytes_per_element == 2)


def jobs(arch: str | None = None) -> list[tuple[tuning.Entry, tuple[str, ...]]]:
    """What to compile: every gated entry plainly, and the long half-precision ones of sm_90 with other features."""
    work: list[tuple[tuning.Entry, tuple[str, ...]]] = []
    for entry in tuning.entries():
        if not gated(entry) or (arch is not None and entry.arch != arch):
            continue
        work.append((entry, ()))
        if entry.arch == "sm_90" and entry.bytes_per_element == 2 and entry.head_size in (64, 128):
            work.append((entry, ("PACKED",)))
    return work


def _run(job: tuple[tuning.Entry, tuple[str, ...]]) -> tuple[str, Resources]:
    entry, switches = job
    return name(entry, switches), compile_entry(entry, **dict.fromkeys(switches, True))


def compile_all(work: list[tuple[tuning.Entry, tuple[str, ...]]], workers: int) -> dict[str, Resources]:
    """Compile in `workers` processes; by `name`."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return dict(pool.map(_run, work))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m kernels.aot", description=__doc__)
    parser.add_argument("--arch", choices=tuning.ARCHITECTURES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
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
