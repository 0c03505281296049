"""Compile a Triton kernel for a GPU that is not here, and read what the compilers made of it.

Needs triton and the tools in its wheel, no driver; must run without TRITON_INTERPRET. What to compile is
`kernels.aot`'s business, and so is the command line.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

# Bytes of shared memory that one program may have: CUDA C++ Programming Guide, compute capabilities; CDNA 3 ISA.
SHARED_LIMIT = {"sm_80": 166_912, "sm_90": 232_448, "sm_100": 232_448, "gfx942": 65_536}
TENSOR_CORES = re.compile(r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA|QGMMA|v_mfma_\w+)")


class Resources(NamedTuple):
    """What a compiled kernel takes."""

    registers: int
    spilled: int  # bytes of stack and local memory; for AMD, registers spilled
    shared: int  # bytes
    tensor_core: int  # instructions


# Arguments of the kernels that are not of the inputs' dtype, and not 32-bit integers.
_TYPES = {
    "Lse": "*fp32", "Delta": "*fp32", "GradLse": "*fp32", "Part": "*fp32", "PartLse": "*fp32", "Losses": "*fp32",
    "Scale": "*fp32", "GradWeight": "*fp32", "Ranges": "*i32", "Table": "*i32", "Lengths": "*i32", "Targets": "*i64",
    "Padding": "*u8", "H": "i32", "M": "i32", "N": "i32", "scale": "fp32", "softcap": "fp32", "eps": "fp32",
    "smoothing": "fp32",
}  # fmt: skip


def compile_kernel(
    kernel: Any, arch: str, element: str, constants: dict[str, Any], warps: int, stages: int
) -> Resources:
    """Compile any of the Triton kernels; `element` is the type of tensors whose dtype is the inputs'.

    Pointers and strides are taken to be multiples of 16, as in aligned tensors.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {
        name: "constexpr" if name in constants else _TYPES.get(name, element if name[0].isupper() else "i32")
        for name in kernel.arg_names
    }
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name.endswith(("_batch", "_row", "_head", "_page"))
    }
    values = {(kernel.arg_names.index(name),): v for name, v in constants.items() if name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=values, attrs=aligned)
    amd = arch.startswith("gfx")
    target = GPUTarget("hip", arch, 64) if amd else GPUTarget("cuda", int(arch.removeprefix("sm_")), 32)
    options = {
        "num_warps": warps,
        "num_stages": stages,
        "enable_fp_fusion": True,
    }  # launches' default
    compiled = triton.compile(source, target=target, options=options)
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
