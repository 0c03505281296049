"""Fused operations with a plain reference each; `kernels.attention` is the attention of every model.

Needs torch alone: where Triton is not installed, PyTorch's own operations do the work.
"""

from kernels.attention.api import Explanation, attention, explain
from kernels.attention.cached import cached_attention, positions_of, rotary_tables
from kernels.attention.packing import Packing, pack, positions
from kernels.attention.paged import paged_attention
from kernels.cross_entropy.linear_cross_entropy import linear_cross_entropy
from kernels.pointwise import relu2, rms_norm, rotary_qkv, rotate, swiglu

__all__ = [
    "Explanation",
    "Packing",
    "attention",
    "cached_attention",
    "explain",
    "linear_cross_entropy",
    "pack",
    "paged_attention",
    "positions",
    "positions_of",
    "relu2",
    "rms_norm",
    "rotary_qkv",
    "rotary_tables",
    "rotate",
    "swiglu",
]
