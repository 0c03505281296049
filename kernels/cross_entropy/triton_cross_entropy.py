"""Cross-entropy of rows of logits, and its gradient written over them: one kernel, two passes over a row.

`kernels.cross_entropy.linear_cross_entropy` makes a chunk of logits, calls this, and multiplies the gradients back at
once, so the logits of a batch never exist together (Hsu et al. 2024, arXiv:2410.10989).
"""

# mypy: allow-untyped-defs
import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.attention.common import LN2, LOG2E

IGNORE = tl.constexpr(-100)


@triton.jit
def cross_entropy_rows(
    Logits, Targets, Losses, Scale, row, vocab, smoothing,
    BLOCK: tl.constexpr, TRAINING: tl.constexpr, SCALE: tl.constexpr, SMOOTHING: tl.constexpr,
):  # fmt: skip
    """Grid (rows). Losses float32; with TRAINING the logits [rows, V] become the gradient of the losses' sum.

    A target outside the vocabulary reads nothing and makes its row's loss and gradient not-a-number.
    """
    index = tl.program_id(0).to(tl.int64)
    Logits += index * row
    target = tl.load(Targets + index)
    factor = 1.0
    if SCALE:
        factor = tl.load(Scale + index)
    word = (target >= 0) & (target < vocab)
    factor = tl.where(word, factor, tl.where(target == IGNORE, 0.0, float("nan")))
    own = tl.load(Logits + target, mask=word, other=0.0).to(tl.float32)
    tl.debug_barrier()  # the second pass writes over what was just read
    top = float("-inf")
    total = 0.0
    sum_of_logits = 0.0
    for start in range(0, vocab, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(Logits + columns, mask=columns < vocab, other=float("-inf")).to(tl.float32)
        new_top = tl.maximum(top, tl.max(x, 0))
        total = total * tl.exp2((top - new_top) * LOG2E) + tl.sum(tl.exp2((x - new_top) * LOG2E), 0)
        top = new_top
        if SMOOTHING:
            sum_of_logits += tl.sum(tl.where(columns < vocab, x, 0.0), 0)
    lse = top + tl.log2(total) * LN2
    loss = lse - own
    if SMOOTHING:
        loss = (1.0 - smoothing) * loss + smoothing * (lse - sum_of_logits / vocab)
    tl.store(Losses + index, tl.where(target == IGNORE, 0.0, loss * factor))
    if TRAINING:
        for start in range(0, vocab, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            x = tl.load(Logits + columns, mask=columns < vocab, other=float("-inf")).to(tl.float32)
            gradient = tl.exp2((x - lse) * LOG2E)
            if SMOOTHING:
                gradient -= smoothing / vocab
            gradient = tl.where(columns == target, gradient - (1.0 - smoothing), gradient) * factor
            tl.store(Logits + columns, gradient.to(Logits.dtype.element_ty), mask=columns < vocab)


def rows(
    logits: Tensor, targets: Tensor, scale: Tensor | None, label_smoothing: float, training: bool
) -> tuple[Tensor, Tensor]:
    """Losses [rows] and, in `logits`' own memory if it is contiguous, the gradient of their sum when `training`."""
    logits, targets = logits.contiguous(), targets.contiguous()
    scale = None if scale is None else scale.contiguous()
    count, vocab = logits.shape
    losses = logits.new_empty(count, dtype=torch.float32)
    cross_entropy_rows[(count,)](
        logits, targets, losses, losses if scale is None else scale, logits.stride(0), vocab, label_smoothing,
        BLOCK=min(8192, max(128, triton.next_power_of_2(vocab))), TRAINING=training, SCALE=scale is not None,
        SMOOTHING=label_smoothing > 0, num_warps=8,
    )  # fmt: skip
    return losses, logits
