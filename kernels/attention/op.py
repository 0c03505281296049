"""`metroline::attention` and its backward as PyTorch custom operators over the Triton kernels.

Opaque to torch.compile and torch.export, which see shapes (`register_fake`), gradients (`register_autograd`, the
backward being an operator of its own) and the dtype under autocast. `custom_op`, not `triton_op`: the latter compiles
the kernel itself, which the interpreter cannot do. `kernels.attention` chooses when to call it.
"""

from typing import Any

import torch
from torch import Tensor

DEVICES = ("cuda", "cpu")  # autocast; the CPU only in Triton's interpreter


@torch.library.custom_op("metroline::attention", mutates_args=())
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    slopes: Tensor | None,
    ranges_q: Tensor | None,
    ranges_k: Tensor | None,
    padding: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    weight: Tensor | None,
    eps: float,
    causal: bool,
    window: int,
    scale: float,
    softcap: float,
) -> tuple[Tensor, Tensor]:
    """(out [B, S, H, D], log-sum-exp float32 [B, H, S]); arguments as in `kernels.attention.launch.Extras`."""
    from kernels.attention import launch

    extras = launch.Extras(
        sinks, slopes, ranges_q, ranges_k, padding, cos, sin, weight, eps, causal, window, scale, softcap
    )
    with torch.cuda.device_of(q):  # Triton launches on the current device, whatever the tensors'
        return launch.forward(q, k, v, extras)


@attention.register_fake
def _(q: Tensor, k: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    return out, q.new_empty((q.shape[0], q.shape[2], q.shape[1]), dtype=torch.float32)


@torch.library.custom_op("metroline::attention_backward", mutates_args=())
def attention_backward(
    grad: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    sinks: Tensor | None,
    slopes: Tensor | None,
    ranges_q: Tensor | None,
    ranges_k: Tensor | None,
    padding: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    weight: Tensor | None,
    eps: float,
    causal: bool,
    window: int,
    scale: float,
    softcap: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, sinks, weight; the last two are empty where there is no such input."""
    from kernels.attention import launch

    extras = launch.Extras(
        sinks, slopes, ranges_q, ranges_k, padding, cos, sin, weight, eps, causal, window, scale, softcap
    )
    with torch.cuda.device_of(q):
        result = launch.backward(grad, grad_lse, q, k, v, out, lse, extras)
    none = [q.new_empty(0) if gradient is None else gradient for gradient in (result.sinks, result.weight)]
    return result.q, result.k, result.v, none[0], none[1]


@attention_backward.register_fake
def _(
    grad: Tensor,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    sinks: Tensor | None,
    slopes: Tensor | None,
    ranges_q: Tensor | None,
    ranges_k: Tensor | None,
    padding: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    weight: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        q.new_empty(q.shape),
        k.new_empty(k.shape),
        v.new_empty(v.shape),
        q.new_empty(0) if sinks is None else sinks.new_empty(sinks.shape),
        q.new_empty(0) if weight is None else weight.new_empty(weight.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # no gradient of the log-sum-exp, where nobody uses it, instead of zeros
    ctx.save_for_backward(*inputs[:3], *output, *inputs[3:11])
    ctx.numbers = inputs[11:]


def _backward(ctx: Any, grad: Tensor | None, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, *tensors = ctx.saved_tensors
    if grad is None:
        grad = torch.zeros_like(out)
    dq, dk, dv, dsinks, dweight = attention_backward(grad, grad_lse, q, k, v, out, lse, *tensors, *ctx.numbers)
    dsinks, dweight = (
        gradient if of is not None else None for gradient, of in ((dsinks, tensors[0]), (dweight, tensors[7]))
    )
    return dq, dk, dv, dsinks, None, None, None, None, None, None, dweight, *[None] * 5


attention.register_autograd(_backward, setup_context=_save)


def _register_autocast(device: str) -> None:
    """Cast q, k, v to autocast's dtype, as it does for SDPA.

    `register_autocast` of a custom op takes one fixed dtype; this follows the one in force.
    """

    def cast(_: Any, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device.upper()}"))
        dtype = torch.get_autocast_dtype(device)
        with torch._C._ExcludeDispatchKeyGuard(key):
            return attention._opoverload(*(x.to(dtype) for x in (q, k, v)), *rest)

    attention._lib.impl("attention", cast, f"Autocast{device.upper()}", with_keyset=True)


for _device in DEVICES:
    _register_autocast(_device)
