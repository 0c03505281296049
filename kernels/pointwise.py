"""The element-wise parts of a decoder with hand-written gradients: RMSNorm, QK-norm with RoPE, SwiGLU, squared ReLU.

In eager mode on a CPU these parts cost as much as the matrix products: PyTorch composes them of many small operations
and passes over memory as often. The functions here make about a third of the passes. Where something else sees to
that (torch.compile) or no gradient is wanted (generation, export), they run as plain operations.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def _by_hand(*tensors: Tensor) -> bool:
    """Whether the hand-written gradient is worth having: in an eager training step."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and any(t.requires_grad for t in tensors)


def _work_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast would give a linear layer's input, or x's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last dimension (Zhang and Sennrich 2019, arXiv:1910.07467), without a weight.

    Multiply the weight into the next linear layer, which is smaller. Under autocast the result has its dtype.
    """
    if _by_hand(x):
        return _RMSNorm.apply(x, eps, _work_dtype(x))
    return F.rms_norm(x, x.shape[-1:], None, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        inverse = _inverse_rms(x, eps)
        y = (x * inverse).to(dtype)
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, inverse = ctx.saved_tensors
        mean = (grad * y).sum(-1, keepdim=True, dtype=inverse.dtype).div_(-y.shape[-1])
        return torch.addcmul(grad, y, mean).mul_(inverse), None, None


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE in Llama's layout (first half with second half). x [..., S, H, D]; cos, sin [..., S, 1, D / 2]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotary_qkv(
    qkv: Tensor,
    heads: int,
    kv_heads: int,
    rope: tuple[Tensor, Tensor] | None,
    norm: tuple[Tensor, Tensor] | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Split a fused projection into q, k, v; normalise each head of q and k, then rotate them.

    qkv [B, S, (H + 2 Hkv) · D] → q [B, S, H, D], k and v [B, S, Hkv, D]. `rope`: cos, sin [1 or B, S, 1, D / 2];
    `norm`: the weights of q's and of k's RMSNorm, [D] each (Qwen3's order: norm, then RoPE).
    """
    qkv = qkv.unflatten(-1, (heads + 2 * kv_heads, -1))
    if (rope is not None or norm is not None) and _by_hand(qkv):
        cos, sin = rope if rope is not None else (None, None)
        weights = None
        if norm is not None:
            weights = torch.cat([norm[0].expand(heads, -1), norm[1].expand(kv_heads, -1)])
        return _RotaryQKV.apply(qkv, heads, kv_heads, cos, sin, weights, eps)
    q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=-2)
    if norm is not None:
        q, k = (F.rms_norm(x, x.shape[-1:], weight.to(x.dtype), eps) for x, weight in zip((q, k), norm, strict=True))
    if rope is not None:
        cos, sin = (table.to(q.dtype) for table in rope)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    return q, k, v


class _RotaryQKV(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        heads: int,
        kv_heads: int,
        cos: Tensor | None,
        sin: Tensor | None,
        weights: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        both = heads + kv_heads
        x = qkv[..., :both, :]
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        inverse = None
        if weights is not None:
            inverse = _inverse_rms(x, eps)
            x = x * inverse
        if cos is not None and sin is not None:
            # rotate(x · w) = x · (w · cos) + halves_swapped(x) · (halves_swapped(w) · ±sin)
            cos, sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # [1 or B, S, 1, D]
            out = x * (cos if weights is None else cos * weights)
            _add_swapped(out, x, sin if weights is None else sin * weights.roll(weights.shape[-1] // 2, dims=-1))
        else:
            assert weights is not None
            out = x * weights
        out = out.to(qkv.dtype)
        ctx.save_for_backward(x if weights is not None else None, inverse, cos, sin, weights)
        ctx.shape, ctx.dtype, ctx.heads, ctx.both = qkv.shape, qkv.dtype, heads, both
        return out[..., :heads, :], out[..., heads:, :], qkv[..., both:, :]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_q: Tensor, grad_k: Tensor, grad_v: Tensor) -> tuple[Tensor | None, ...]:
        y, inverse, cos, sin, weights = ctx.saved_tensors
        grad_qkv = grad_q.new_empty(ctx.shape, dtype=ctx.dtype)
        grad_qkv[..., ctx.both :, :] = grad_v
        grad_weights = torch.zeros_like(weights) if ctx.needs_input_grad[5] else None
        for part, grad in ((slice(0, ctx.heads), grad_q), (slice(ctx.heads, ctx.both), grad_k)):
            grad = grad.to(torch.promote_types(grad.dtype, torch.float32))
            if cos is not None:
                turned = grad * cos
                _add_swapped(turned, grad, -sin)  # the inverse rotation: swapped(±sin · g) = swapped(g) · ∓sin
                grad = turned
            if weights is not None:
                product = grad * y[..., part, :]
                if grad_weights is not None:
                    grad_weights[part] = product.sum(tuple(range(product.dim() - 2)))
                mean = (product * weights[part]).sum(-1, keepdim=True).div_(-product.shape[-1])
                grad = (grad * weights[part]).addcmul_(y[..., part, :], mean)
                grad *= inverse[..., part, :]
            grad_qkv[..., part, :] = grad
        return grad_qkv, None, None, None, None, grad_weights, None


def _add_swapped(out: Tensor, x: Tensor, table: Tensor) -> None:
    """out += halves_swapped(x) · table, over the last dimension, without making the swapped copy."""
    half = x.shape[-1] // 2
    out[..., :half].addcmul_(x[..., half:], table[..., :half])
    out[..., half:].addcmul_(x[..., :half], table[..., half:])


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up (Shazeer 2020, arXiv:2002.05202). [..., 2 H], gate first → [..., H]."""
    if _by_hand(gate_up):
        return _SwiGLU.apply(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        grad_gate, grad_up = out.chunk(2, dim=-1)
        torch.mul(F.silu(gate), grad, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return out


def relu2(x: Tensor) -> Tensor:
    """relu(x)² (So et al. 2021, arXiv:2109.08668)."""
    return _ReLU2.apply(x) if _by_hand(x) else F.relu(x).square()


class _ReLU2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = F.relu(x)
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (x * grad).mul_(2)
