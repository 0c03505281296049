"""The one attention of every model: `attention(q, k, v, ...)`, and the choice of its backend.

    q [B, S, H, D], k and v [B, T, Hkv, D] → out [B, S, H, D]

| backend   | what runs                                                                     |
| --------- | ----------------------------------------------------------------------------- |
| triton    | `metroline::attention`, our kernels, on NVIDIA and AMD GPUs                    |
| sdpa      | PyTorch's scaled_dot_product_attention, called directly                        |
| reference | `kernels.attention.reference` in float64, result in the inputs' dtype                    |

`auto` takes triton where `kernels.attention.support` has nothing against it, else sdpa; `explain` says which, and why.
"""

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from kernels import tuning
from kernels.attention import reference, sdpa, support
from kernels.attention.packing import Packing, check_offsets, with_ranges
from kernels.pointwise import rotate

Backend = Literal["auto", "triton", "sdpa", "reference"]


class Explanation(NamedTuple):
    """Which backend would run, why, and with which tiles."""

    backend: str
    reason: str
    configs: dict[str, tuning.Config]  # by kernel; empty unless the backend is triton


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
    alibi: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    packing: Packing | None = None,
    key_padding: Tensor | None = None,
    q_norm: tuple[Tensor, float] | None = None,
    q_rope: tuple[Tensor, Tensor] | None = None,
    return_lse: bool = False,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Scaled dot-product attention, differentiable in q, k, v, sinks and the weight of q_norm.

    Args:
        q: [B, S, H, D] queries, floating point.
        k: [B, T, Hkv, D] keys, same dtype and device as q; H is a multiple of Hkv (grouped-query attention). Under
            autocast dtypes may differ: all three get autocast's.
        v: [B, T, Hkv, D] values.
        causal: query i sees keys up to its own position; the last query lines up with the last key (also S ≠ T).
        window: a query sees at most its `window` latest keys, its own included; not causal: keys nearer than `window`.
        scale: of the scores; default D ** -0.5.
        softcap: scores become softcap · tanh(scores / softcap), before masking (Gemma 2).
        sinks: [H] one logit a head that takes part in the softmax and has no value (GPT-OSS).
        alibi: [H] slopes: scores lose slope · distance (Press et al. 2022, arXiv:2108.12409). No gradient.
        cu_seqlens_q: int32 [N + 1], packed documents: document n is tokens cu_seqlens_q[n] to cu_seqlens_q[n + 1] of
            the B·S tokens, and attends only within itself; tokens of no document see nothing. With B > 1 every row must
            start a document.
        cu_seqlens_k: the same for keys, as many documents; default cu_seqlens_q.
        packing: documents prepared by `pack`, in place of cu_seqlens, so that many layers share the work.
        key_padding: bool [B, T], False where a key is padding. A query that sees no key gives zero.
        q_norm: (weight [D], eps): RMSNorm each head of q first. Keys are expected normalised.
        q_rope: (cos, sin), [S, D / 2] or [B, S, D / 2]: then rotate q, Llama's layout. Keys are expected rotated.
        return_lse: also return the log of the softmax's denominator, float32 [B, H, S] (-inf where no key is seen).
        backend: see the module's table.

    Returns: out [B, S, H, D] in q's dtype, or (out, lse). Raises ValueError naming the argument that does not fit.
    """
    if packing is not None:
        cu_seqlens_q, cu_seqlens_k = packing.cu_seqlens_q, packing.cu_seqlens_k
    check(q, k, v, window, softcap, sinks, alibi, cu_seqlens_q, cu_seqlens_k, key_padding, q_norm, q_rope)
    if packing is None and cu_seqlens_q is not None:
        check_offsets("cu_seqlens_q", cu_seqlens_q, q.shape[0] * q.shape[1])
        if cu_seqlens_k is not None:
            check_offsets("cu_seqlens_k", cu_seqlens_k, k.shape[0] * k.shape[1])
    mask = None if packing is None else packing.mask
    chosen: str = backend
    if backend in ("auto", "triton"):
        refusal = support.refusal(q, k, v, scale=scale, mask=mask is not None)
        if refusal is not None and backend == "triton":
            raise ValueError(f"attention: triton cannot run: {refusal}")
        # The interpreter is for tests that ask for it: without them a CPU keeps SDPA.
        chosen = "sdpa" if refusal is not None or (backend == "auto" and q.device.type == "cpu") else "triton"
    if chosen == "triton":
        return _triton(
            q, k, v, causal, window, scale, softcap, sinks, alibi, cu_seqlens_q, cu_seqlens_k, packing, key_padding,
            q_norm, q_rope, return_lse,
        )  # fmt: skip
    if q_norm is not None or q_rope is not None:
        q = _query(q, q_norm, q_rope, torch.float64 if chosen == "reference" else torch.float32)
    options: dict[str, Any] = {
        "causal": causal, "window": window, "scale": scale, "softcap": softcap, "sinks": sinks, "alibi": alibi,
        "cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k, "key_padding": key_padding,
    }  # fmt: skip
    if chosen == "reference":
        out, lse = reference.attention(q, k, v, **options)
        return (out.to(k.dtype), lse.float()) if return_lse else out.to(k.dtype)
    if chosen != "sdpa":
        raise ValueError(f"attention: no backend {backend!r}; there are auto, triton, sdpa, reference")
    if not causal or window is not None or alibi is not None or key_padding is not None:
        mask = None  # the prepared one knows causal documents and nothing else
    result, normaliser = sdpa.attention(q, k, v, **options, return_lse=return_lse, mask=mask)
    if return_lse:
        assert normaliser is not None
        return result, normaliser.float()
    return result


def _query(
    q: Tensor, norm: tuple[Tensor, float] | None, rope: tuple[Tensor, Tensor] | None, dtype: torch.dtype
) -> Tensor:
    """QK-norm, then RoPE, of q by plain operations; computed in `dtype`, float64 staying so."""
    x = q.to(torch.promote_types(q.dtype, dtype))
    if norm is not None:
        weight, eps = norm
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight.to(x.dtype)
    if rope is not None:
        x = rotate(x, *(table.to(x.dtype).unsqueeze(-2) for table in rope))
    return x if dtype == torch.float64 else x.to(q.dtype)


def _triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    window: int | None,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    alibi: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    packing: Packing | None,
    key_padding: Tensor | None,
    q_norm: tuple[Tensor, float] | None,
    q_rope: tuple[Tensor, Tensor] | None,
    return_lse: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    from kernels.attention.op import attention as op

    batch, length = q.shape[:2]
    cos, sin = (None, None) if q_rope is None else (t if t.dim() == 3 else t[None] for t in q_rope)
    if cu_seqlens_q is not None:
        if packing is None or packing.ranges_q is None:
            keys = cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
            packing = with_ranges(cu_seqlens_q, keys, batch * length, batch * k.shape[1])
        # Documents may begin anywhere, so rows make one long row.
        q, k, v = (x.reshape(1, -1, *x.shape[2:]) for x in (q, k, v))
        key_padding = None if key_padding is None else key_padding.reshape(1, -1)
        cos, sin = (None if t is None else t.expand(batch, -1, -1).reshape(1, -1, t.shape[-1]) for t in (cos, sin))
    weight, eps = (None, 0.0) if q_norm is None else q_norm
    out, lse = op(
        q, k, v, sinks, alibi, None if packing is None else packing.ranges_q,
        None if packing is None else packing.ranges_k, key_padding, cos, sin, weight, eps, causal, window or 0,
        q.shape[-1] ** -0.5 if scale is None else scale, softcap or 0.0,
    )  # fmt: skip
    out = out.view(batch, length, *out.shape[2:])
    if not return_lse:
        return out
    return out, lse.view(lse.shape[1], batch, length).transpose(0, 1) if cu_seqlens_q is not None else lse


def explain(q: Tensor, k: Tensor, v: Tensor, *, backend: Backend = "auto", **options: Any) -> Explanation:
    """Which backend `attention` with the same arguments would take, why, and the tiles it would run with."""
    packing = options.get("packing")
    refusal = support.refusal(
        q, k, v, scale=options.get("scale"), mask=packing is not None and packing.mask is not None
    )
    if backend in ("sdpa", "reference"):
        return Explanation(backend, "asked for", {})
    if refusal is not None:
        return Explanation("sdpa", refusal, {})
    if backend == "auto" and q.device.type == "cpu":
        return Explanation("sdpa", "Triton's interpreter runs only when asked for", {})
    if q.device.type == "cpu":
        arch = "interpreter"
    else:
        properties = torch.cuda.get_device_properties(q.device)
        arch = tuning.architecture(properties.major, properties.minor, getattr(properties, "gcnArchName", ""))
    packed = packing is not None or options.get("cu_seqlens_q") is not None
    kind = q.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else q.dtype
    configs: dict[str, tuning.Config] = {
        kernel: tuning.attention(arch, kernel, q.shape[-1], dtype.itemsize, length=k.shape[1], packed=packed)
        for kernel in tuning.KERNELS
    }
    return Explanation("triton", f"the kernels take {arch}, {dtype}, head size {q.shape[-1]}", configs)


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    alibi: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    key_padding: Tensor | None,
    q_norm: tuple[Tensor, float] | None,
    q_rope: tuple[Tensor, Tensor] | None,
) -> None:
    """Raise ValueError, naming the argument, where the arguments of `attention` do not fit together."""
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        raise ValueError(f"attention: q, k, v need 4 dimensions [B, S, H, D], not {q.dim()}, {k.dim()}, {v.dim()}")
    if k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(f"attention: shapes do not fit: q {_list(q)}, k {_list(k)}, v {_list(v)}")
    if not q.dtype.is_floating_point:
        raise ValueError(f"attention: q, k, v must be floating-point, not {q.dtype}")
    if not q.dtype == k.dtype == v.dtype and not torch.is_autocast_enabled(q.device.type):
        raise ValueError(f"attention: dtypes do not fit: q {q.dtype}, k {k.dtype}, v {v.dtype}")
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"attention: {q.shape[2]} query heads are not a multiple of {k.shape[2]} key heads")
    check_features("attention", q, window, softcap, sinks, alibi, q_norm)
    if q_rope is not None:
        fits = {(q.shape[1], q.shape[3] // 2), (q.shape[0], q.shape[1], q.shape[3] // 2)}
        if q.shape[3] % 2 or any(tuple(table.shape) not in fits for table in q_rope):
            given = " and ".join(str(_list(table)) for table in q_rope)
            raise ValueError(f"attention: q_rope must be [{q.shape[1]}, {q.shape[3] // 2}] twice, not {given}")
    if cu_seqlens_k is not None and cu_seqlens_q is None:
        raise ValueError("attention: cu_seqlens_k needs cu_seqlens_q")
    if cu_seqlens_q is not None and cu_seqlens_k is None and q.shape[1] != k.shape[1]:
        raise ValueError("attention: cu_seqlens_k is needed where queries and keys differ in length")
    if cu_seqlens_q is not None and cu_seqlens_k is not None and cu_seqlens_q.shape != cu_seqlens_k.shape:
        given = f"{_list(cu_seqlens_q)} and {_list(cu_seqlens_k)}"
        raise ValueError(f"attention: cu_seqlens_q and cu_seqlens_k need equally many documents, not {given}")
    if key_padding is not None and (key_padding.dtype != torch.bool or key_padding.shape != k.shape[:2]):
        shape, given = list(k.shape[:2]), f"{key_padding.dtype} {_list(key_padding)}"
        raise ValueError(f"attention: key_padding must be bool {shape}, not {given}")


def check_features(
    op: str,
    q: Tensor,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    alibi: Tensor | None,
    q_norm: tuple[Tensor, float] | None,
) -> None:
    """Raise ValueError, naming operator and argument, where one does not fit q [..., H, D]."""
    heads, width = q.shape[-2:]
    if window is not None and window < 1:
        raise ValueError(f"{op}: window must be at least 1, not {window}")
    if softcap is not None and softcap <= 0:
        raise ValueError(f"{op}: softcap must be positive, not {softcap}")
    for name, tensor in (("sinks", sinks), ("alibi", alibi)):
        if tensor is not None and tuple(tensor.shape) != (heads,):
            raise ValueError(f"{op}: {name} must be [{heads}], not {_list(tensor)}")
    if q_norm is not None and tuple(q_norm[0].shape) != (width,):
        raise ValueError(f"{op}: q_norm's weight must be [{width}], not {_list(q_norm[0])}")


def _list(x: Tensor) -> list[int]:
    return list(x.shape)
