"""Four-bit codes of NF4 back to numbers, one pass: for `kernels.nf4`, whose packing and blocks these are."""

# mypy: allow-untyped-defs
import torch
import triton
import triton.language as tl
from torch import Tensor

BYTES = tl.constexpr(32)  # of a block of 64 numbers
STEP = 16
"""Blocks a program unpacks."""


@triton.jit
def unpack_blocks(Codes, Scales, Table, Out, blocks, numbers, STEP: tl.constexpr):
    """Grid (blocks / STEP). Codes uint8 [blocks · 32], Scales float32 [blocks], Table float32 [16] → Out [numbers]."""
    block = tl.program_id(0).to(tl.int64) * STEP + tl.arange(0, STEP)
    place = block[:, None] * BYTES + tl.arange(0, BYTES)[None, :]
    there = (block < blocks)[:, None]
    scale = tl.load(Scales + block, mask=block < blocks, other=0.0)[:, None]
    byte = tl.load(Codes + place, mask=there, other=0).to(tl.int32)
    first = tl.load(Table + (byte >> 4)) * scale
    second = tl.load(Table + (byte & 15)) * scale
    tl.store(Out + 2 * place, first.to(Out.dtype.element_ty), mask=there & (2 * place < numbers))
    tl.store(Out + 2 * place + 1, second.to(Out.dtype.element_ty), mask=there & (2 * place + 1 < numbers))


def unpack(codes: Tensor, scales: Tensor, table: Tensor, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Codes uint8 [blocks · 32], scales float32 [blocks], values float32 [16] → the weight [rows, columns]."""
    out = torch.empty(rows, columns, dtype=dtype, device=codes.device)
    with torch.cuda.device_of(codes):
        unpack_blocks[(triton.cdiv(len(scales), STEP),)](
            codes, scales, table, out, len(scales), rows * columns, STEP=STEP
        )
    return out
