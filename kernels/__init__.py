"""Fused operations with a plain reference each; `kernels.attention` is the attention of every model.

Needs torch alone: where Triton is not installed, PyTorch's own operations do the work.
"""

from kernels.attention import Explanation, attention, document_mask, explain
from kernels.cached import cached_attention, positions_of, rotary_tables, rotate

__all__ = [
    "Explanation",
    "attention",
    "cached_attention",
    "document_mask",
    "explain",
    "positions_of",
    "rotary_tables",
    "rotate",
]
