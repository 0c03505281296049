"""The one attention of every model: `attention(q, k, v, ...)`, and the choice of its backend.

    q [B, S, H, D], k and v [B, T, Hkv, D] → out [B, S, H, D]

| backend   | what runs                                                     |
| --------- | ------------------------------------------------------------- |
| sdpa      | PyTorch's scaled_dot_product_attention, called directly        |
| reference | `kernels.reference` in float64, result in the inputs' dtype    |

`auto` takes sdpa. Documents in `kernels.sdpa` say what costs more than plain SDPA.
"""

from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor

from kernels import reference, sdpa

Backend = Literal["auto", "sdpa", "reference"]


@dataclass(frozen=True)
class Explanation:
    """Which backend would run, and why."""

    backend: str
    reason: str


@overload
def attention(q: Tensor, k: Tensor, v: Tensor, *, return_lse: Literal[False] = False, **options: Any) -> Tensor: ...


@overload
def attention(
    q: Tensor, k: Tensor, v: Tensor, *, return_lse: Literal[True], **options: Any
) -> tuple[Tensor, Tensor]: ...


def attention(  # type: ignore[misc]  # the overloads above abbreviate the arguments
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    key_padding: Tensor | None = None,
    return_lse: bool = False,
    backend: Backend = "auto",
    mask: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scaled dot-product attention, differentiable in q, k, v and sinks.

    Args:
        q: [B, S, H, D] queries, floating point.
        k: [B, T, Hkv, D] keys, same dtype and device as q; H is a multiple of Hkv (grouped-query attention).
        v: [B, T, Hkv, D] values.
        causal: query i sees keys up to its own position; the last query lines up with the last key (also S ≠ T).
        window: a query sees at most its `window` latest keys, its own included; not causal: keys nearer than `window`.
        scale: of the scores; default D ** -0.5.
        softcap: scores become softcap · tanh(scores / softcap), before masking (Gemma 2).
        sinks: [H] one logit a head that takes part in the softmax and has no value (GPT-OSS).
        cu_seqlens_q: int32 [N + 1], packed documents: document n is tokens cu_seqlens_q[n] to cu_seqlens_q[n + 1] of
            the B·S tokens, and attends only within itself. With B > 1 every row must start a document.
        cu_seqlens_k: the same for keys; default cu_seqlens_q.
        key_padding: bool [B, T], False where a key is padding. A query that sees no key gives zero.
        return_lse: also return the log of the softmax's denominator, float32 [B, H, S] (-inf where no key is seen).
        backend: see the module's table.
        mask: a mask from `document_mask`, so that many layers can share it; sdpa only.

    Returns: out [B, S, H, D] in q's dtype, or (out, lse). Raises ValueError naming the argument that does not fit.
    """
    check(q, k, v, window, softcap, sinks, cu_seqlens_q, cu_seqlens_k, key_padding)
    if backend == "reference":
        out, lse = reference.attention(
            q, k, v, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
            cu_seqlens_q=cu_seqlens_q, cu_seqlens_k=cu_seqlens_k, key_padding=key_padding,
        )  # fmt: skip
        return (out.to(q.dtype), lse.float()) if return_lse else out.to(q.dtype)
    if backend not in ("auto", "sdpa"):
        raise ValueError(f"attention: no backend {backend!r}; there are auto, sdpa, reference")
    result, normaliser = sdpa.attention(
        q, k, v, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks, cu_seqlens_q=cu_seqlens_q,
        cu_seqlens_k=cu_seqlens_k, key_padding=key_padding, return_lse=return_lse, mask=mask,
    )  # fmt: skip
    if return_lse:
        assert normaliser is not None
        return result, normaliser.float()
    return result


def document_mask(cu_seqlens: Tensor, batch: int, length: int) -> Tensor:
    """The causal mask of packed documents, bool [batch, 1, length, length], to share between layers (sdpa only)."""
    return reference.visible(
        batch, length, length, causal=True, window=None, cu_seqlens_q=cu_seqlens, cu_seqlens_k=None, key_padding=None,
        device=cu_seqlens.device,
    )  # fmt: skip


def explain(q: Tensor, k: Tensor, v: Tensor, **_: object) -> Explanation:
    """Which backend `attention` with the same arguments would take, and why."""
    return Explanation("sdpa", f"{q.device.type}: no other backend takes it")


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    key_padding: Tensor | None,
) -> None:
    """Raise ValueError, naming the argument, where the arguments of `attention` do not fit together."""
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        raise ValueError(f"attention: q, k, v need 4 dimensions [B, S, H, D], not {q.dim()}, {k.dim()}, {v.dim()}")
    if k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(f"attention: shapes do not fit: q {_list(q)}, k {_list(k)}, v {_list(v)}")
    if not q.dtype.is_floating_point:
        raise ValueError(f"attention: q, k, v must be floating-point, not {q.dtype}")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"attention: dtypes do not fit: q {q.dtype}, k {k.dtype}, v {v.dtype}")
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"attention: {q.shape[2]} query heads are not a multiple of {k.shape[2]} key heads")
    if window is not None and window < 1:
        raise ValueError(f"attention: window must be at least 1, not {window}")
    if softcap is not None and softcap <= 0:
        raise ValueError(f"attention: softcap must be positive, not {softcap}")
    if sinks is not None and tuple(sinks.shape) != (q.shape[2],):
        raise ValueError(f"attention: sinks must be [{q.shape[2]}], not {_list(sinks)}")
    if cu_seqlens_k is not None and cu_seqlens_q is None:
        raise ValueError("attention: cu_seqlens_k needs cu_seqlens_q")
    if cu_seqlens_q is not None and cu_seqlens_k is None and q.shape[1] != k.shape[1]:
        raise ValueError("attention: cu_seqlens_k is needed where queries and keys differ in length")
    for name, offsets in (("cu_seqlens_q", cu_seqlens_q), ("cu_seqlens_k", cu_seqlens_k)):
        if offsets is not None and (offsets.dtype != torch.int32 or offsets.dim() != 1):
            raise ValueError(f"attention: {name} must be int32 [N + 1], not {offsets.dtype} {_list(offsets)}")
    if key_padding is not None and (key_padding.dtype != torch.bool or key_padding.shape != k.shape[:2]):
        shape, given = list(k.shape[:2]), f"{key_padding.dtype} {_list(key_padding)}"
        raise ValueError(f"attention: key_padding must be bool {shape}, not {given}")


def _list(x: Tensor) -> list[int]:
    return list(x.shape)
