"""Launch the Triton attention kernels on tensors: shapes and strides in, results out.

No choice of backend, no autograd. Imports triton. `kernels.attention.op` calls it.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from kernels import tuning
from kernels.attention.backward import attention_delta, attention_grad_kv, attention_grad_q
from kernels.attention.forward import attention_forward
from kernels.attention.query import query_backward, query_forward

INTERPRETED = triton.knobs.runtime.interpret


class Extras(NamedTuple):
    """What an attention may have besides q, k, v. Tensors on the same device; None: without."""

    sinks: Tensor | None = None  # [H]
    slopes: Tensor | None = None  # [H], ALiBi
    ranges_q: Tensor | None = None  # int32 [3, M]: each query's keys' start, end, offset
    ranges_k: Tensor | None = None  # int32 [3, N]: each key's queries' start, end, offset
    padding: Tensor | None = None  # bool [B, N]
    cos: Tensor | None = None  # [1 or B, M, D / 2], with sin: rotate q
    sin: Tensor | None = None
    weight: Tensor | None = None  # [D]: RMSNorm of q
    eps: float = 0.0
    causal: bool = True
    window: int = 0  # 0: none
    scale: float = 1.0
    softcap: float = 0.0  # 0: none


def architecture(device: torch.device) -> str:
    """The tuning table's name for a device."""
    if INTERPRETED:
        return "interpreter"
    properties = torch.cuda.get_device_properties(device)
    return tuning.architecture(properties.major, properties.minor, getattr(properties, "gcnArchName", ""))


def _strides(x: Tensor) -> tuple[int, int, int]:
    return x.stride(0), x.stride(1), x.stride(2)


def _rows(x: Tensor) -> Tensor:
    """`x` with its last dimension contiguous, as the kernels read it."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _readable(extras: Extras) -> Extras:
    """`extras` as the kernels read them: every tensor contiguous, cos and sin of one shape."""
    if extras.cos is not None and extras.sin is not None:
        cos, sin = torch.broadcast_tensors(extras.cos, extras.sin)
        extras = extras._replace(cos=cos, sin=sin)
    return Extras._make(x.contiguous() if isinstance(x, Tensor) else x for x in extras)


def _flags(extras: Extras, arch: str, dtype: torch.dtype) -> dict[str, Any]:
    """The compile-time switches that forward and backward share."""
    return {
        "CAUSAL": extras.causal,
        "WINDOW": extras.window > 0,
        "SOFTCAP": extras.softcap > 0,
        "ALIBI": extras.slopes is not None,
        "PACKED": extras.ranges_q is not None,
        "PADDING": extras.padding is not None,
        "UPCAST": INTERPRETED and dtype == torch.bfloat16,
        "PRECISION": tuning.precision(arch),
    }


def _config(arch: str, kernel: tuning.Kernel, q: Tensor, keys: int, extras: Extras) -> dict[str, int]:
    packed = extras.ranges_q is not None
    config = tuning.attention(arch, kernel, q.shape[-1], q.element_size(), length=keys, packed=packed)
    return {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "num_warps": config.warps,
        "num_stages": config.stages,
    }


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    """A kernel's pointer that its switches keep it from reading still needs a value."""
    return stand_in if tensor is None else tensor


def forward(q: Tensor, k: Tensor, v: Tensor, extras: Extras) -> tuple[Tensor, Tensor]:
    """q [B, M, H, D], k and v [B, N, Hkv, D] → out [B, M, H, D] contiguous, log-sum-exp float32 [B, H, M]."""
    q, k, v, extras = _rows(q), _rows(k), _rows(v), _readable(extras)
    batch, queries, heads, width = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = q.new_empty((batch, heads, queries), dtype=torch.float32)
    arch = architecture(q.device)
    config = _config(arch, "forward", q, keys, extras)
    first, second = tuning.pieces(width)
    cos, sin = _or(extras.cos, q), _or(extras.sin, q)
    padding = extras.padding.view(torch.uint8) if extras.padding is not None else q
    attention_forward[(triton.cdiv(queries, config["BLOCK_M"]), batch * heads)](
        q, k, v, out, lse, _or(extras.sinks, q), _or(extras.slopes, q), _or(extras.ranges_q, lse), padding, cos, sin,
        _or(extras.weight, q), *_strides(q), *_strides(k), *_strides(v), *_strides(out),
        0 if cos.shape[0] == 1 else cos.stride(0), cos.stride(1), padding.stride(0),
        heads, queries, keys, extras.window, extras.scale, extras.softcap, extras.eps,
        GROUP=heads // kv_heads, DA=first, DB=second, SINKS=extras.sinks is not None,
        ROPE=extras.cos is not None, NORM=extras.weight is not None, **_flags(extras, arch, q.dtype), **config,
    )  # fmt: skip
    return out, lse


class Gradients(NamedTuple):
    """What the backward pass gives; None where there is no such input."""

    q: Tensor
    k: Tensor
    v: Tensor
    sinks: Tensor | None
    weight: Tensor | None


def backward(
    grad: Tensor, grad_lse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, extras: Extras
) -> Gradients:
    """Gradients of q, k, v, sinks and the query norm's weight, equal to the bit whenever the inputs are."""
    q, k, v, grad, out, lse, extras = (*map(_rows, (q, k, v, grad, out)), lse.contiguous(), _readable(extras))
    batch, queries, heads, width = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    arch = architecture(q.device)
    first, second = tuning.pieces(width)
    rotated = q if extras.cos is None and extras.weight is None else rotate(q, extras)

    delta = torch.empty_like(lse)
    grad_lse = None if grad_lse is None else grad_lse.contiguous()
    attention_delta[(triton.cdiv(queries, 64), batch * heads)](
        out, grad, _or(grad_lse, lse), delta, *_strides(out), *_strides(grad), heads, queries,
        DA=first, DB=second, BLOCK_M=64, LSE=grad_lse is not None,
    )  # fmt: skip
    grad_q = q.new_empty((batch, queries, heads, width))
    grad_k, grad_v = k.new_empty(k.shape), v.new_empty(v.shape)
    padding = extras.padding.view(torch.uint8) if extras.padding is not None else q
    strides = (*_strides(rotated), *_strides(k), *_strides(v), *_strides(grad), padding.stride(0))
    numbers = (heads, queries, keys, extras.window, extras.scale, extras.softcap)
    switches = {"GROUP": heads // kv_heads, "DA": first, "DB": second, **_flags(extras, arch, q.dtype)}
    slopes = _or(extras.slopes, q)
    config = _config(arch, "grad_kv", q, keys, extras)
    attention_grad_kv[(triton.cdiv(keys, config["BLOCK_N"]), batch * kv_heads)](
        rotated, k, v, grad, lse, delta, grad_k, grad_v, slopes, _or(extras.ranges_k, lse), padding,
        *strides, *numbers, **switches, **config,
    )  # fmt: skip
    config = _config(arch, "grad_q", q, keys, extras)
    attention_grad_q[(triton.cdiv(queries, config["BLOCK_M"]), batch * heads)](
        rotated, k, v, grad, lse, delta, grad_q, slopes, _or(extras.ranges_q, lse), padding,
        *strides, *numbers, **switches, **config,
    )  # fmt: skip
    grad_sinks = None
    if extras.sinks is not None:  # a sink takes probability exp(sink - lse) and gives nothing back
        taken = torch.exp(extras.sinks.float()[None, :, None] - lse).masked_fill(torch.isneginf(lse), 0.0)
        grad_sinks = -(taken * delta).sum(dim=(0, 2)).to(extras.sinks.dtype)
    grad_weight = None
    if rotated is not q:
        grad_q, grad_weight = unrotate(q, grad_q, extras)
    return Gradients(grad_q, grad_k, grad_v, grad_sinks, grad_weight)


def rotate(q: Tensor, extras: Extras) -> Tensor:
    """QK-norm and RoPE of q [B, M, H, D], as the forward kernel does them on its tiles."""
    out = q.new_empty(q.shape)
    _launch_query(query_forward, q, (out,), extras)
    return out


def unrotate(q: Tensor, grad: Tensor, extras: Extras) -> tuple[Tensor, Tensor | None]:
    """Gradients of q and of the norm's weight from `grad`, contiguous, of the rotated queries."""
    batch, queries, heads, width = q.shape
    grad_q = q.new_empty(q.shape)
    shares = q.new_empty((triton.cdiv(queries, 64) * batch * heads, width), dtype=torch.float32)
    _launch_query(query_backward, q, (grad, grad_q, shares), extras)
    return grad_q, None if extras.weight is None else shares.sum(0).to(extras.weight.dtype)


def _launch_query(kernel: Any, q: Tensor, buffers: tuple[Tensor, ...], extras: Extras) -> None:
    batch, queries, heads, width = q.shape
    first, second = tuning.pieces(width)
    cos, sin = _or(extras.cos, q), _or(extras.sin, q)
    kernel[(triton.cdiv(queries, 64), batch * heads)](
        q, *buffers, cos, sin, _or(extras.weight, q), *_strides(q), 0 if cos.shape[0] == 1 else cos.stride(0),
        cos.stride(1), heads, queries, extras.eps, DA=first, DB=second, BLOCK_M=64,
        ROPE=extras.cos is not None, NORM=extras.weight is not None,
    )  # fmt: skip
