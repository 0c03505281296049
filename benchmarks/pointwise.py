"""A decoder's eager training step on the CPU with the hand-written gradients of `kernels.pointwise`, and without.

    python -m benchmarks.pointwise

The element-wise parts (RMSNorm, QK-norm with RoPE, squared ReLU, SwiGLU) forward and backward, at the sizes of recipe
`speeches`: 4,096 tokens, width 256, float32. The baseline is the same functions made of PyTorch's operations, with the
gradients that autograd derives.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from benchmarks._gpu import median_ms
from benchmarks._report import report, say

BATCH, LENGTH, WIDTH, HEADS, HIDDEN = 16, 256, 256, 4, 704


def cases() -> dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor]]:
    """By name: ours, plain, and an input."""
    size = WIDTH // HEADS
    cos, sin = (table[:, None] for table in kernels.rotary_tables(LENGTH, size, 10_000.0))
    weights = (torch.ones(size), torch.ones(size))

    def ours(qkv: Tensor) -> Tensor:
        q, k, v = kernels.rotary_qkv(qkv, HEADS, HEADS, (cos, sin), weights, 1e-5)
        return torch.stack([q, k, v])

    def plain(qkv: Tensor) -> Tensor:
        q, k, v = qkv.unflatten(-1, (3 * HEADS, size)).split(HEADS, dim=-2)
        q, k = (kernels.rotate(F.rms_norm(x, (size,), w, 1e-5), cos, sin) for x, w in zip((q, k), weights, strict=True))
        return torch.stack([q, k, v])

    def normal(width: int) -> Tensor:
        return torch.randn(BATCH, LENGTH, width, requires_grad=True)

    return {
        "rms_norm": (
            lambda x: kernels.rms_norm(x, 1e-5), lambda x: F.rms_norm(x, x.shape[-1:], None, 1e-5), normal(WIDTH),
        ),
        "rotary_qkv": (ours, plain, normal(3 * WIDTH)),
        "swiglu": (kernels.swiglu, lambda x: F.silu(x[..., :HIDDEN]) * x[..., HIDDEN:], normal(2 * HIDDEN)),
        "relu2": (kernels.relu2, lambda x: F.relu(x).square(), normal(4 * WIDTH)),
    }  # fmt: skip


def main() -> None:
    """Measure and print the last line."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    totals = [0.0, 0.0]
    for name, (ours, plain, x) in cases().items():
        times = []
        for function in (ours, plain):
            grad = torch.randn_like(function(x))
            times.append(
                min(median_ms(lambda: torch.autograd.grad(function(x), x, grad), device) for _ in range(5))  # noqa: B023
            )
        say(f"{name}: {times[0]:.2f} ms, plain {times[1]:.2f} ms")
        totals = [total + time for total, time in zip(totals, times, strict=True)]
    ratio = totals[0] / totals[1]
    report(
        name="pointwise", value=round(totals[0], 2), unit="ms", baseline=round(totals[1], 2), ratio=round(ratio, 3),
        accept="<= 0.8", ok=ratio <= 0.8,
    )  # fmt: skip


if __name__ == "__main__":
    main()
