"""Attention by PyTorch's `scaled_dot_product_attention`: the backend for CPUs and for what Triton does not take.

Plain causal or full attention goes straight to SDPA with no mask, copy or wrapper in between, so autograd,
autocast and torch.compile see SDPA itself. Only the features that SDPA lacks cost more: a mask for windows, documents,
padding and ALiBi, and every score in memory for a soft cap, sinks or the log-sum-exp.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention.reference import layout, log_sum_exp


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    alibi: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    key_padding: Tensor | None,
    return_lse: bool = False,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """`kernels.attention` by SDPA, (out, log-sum-exp or None). `mask`: a ready one, causal and of documents."""
    length, keys, grouped = q.shape[1], k.shape[1], q.shape[2] != k.shape[2]
    masked = window is not None or cu_seqlens_q is not None or key_padding is not None or alibi is not None
    if mask is None and masked:
        mask, distance = layout(
            q.shape[0], length, keys, causal=causal, window=window, cu_seqlens_q=cu_seqlens_q,
            cu_seqlens_k=cu_seqlens_k, key_padding=key_padding, device=q.device,
        )  # fmt: skip
        if alibi is not None:
            slant = alibi[None, :, None, None].to(q.dtype) * distance.abs()
            mask = torch.where(mask, -slant, -torch.inf).to(q.dtype)
    elif mask is None and causal and length != keys:  # SDPA lines up the first query with the first key, we the last
        distance = torch.arange(keys, device=q.device) - torch.arange(length, device=q.device)[:, None]
        mask = (distance <= keys - length)[None, None]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, H, S, D], views
    if softcap is not None or sinks is not None or return_lse:
        return _plain(q, k, v, mask, causal, scale, softcap, sinks)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal and mask is None, scale=scale, enable_gqa=grouped
    )
    return out.transpose(1, 2), None


def _plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Attention with every score in memory, softmax in at least float32; q, k, v are [B, H, S, D]."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, dim=1) if group > 1 else x for x in (k, v))
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is None and causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    lse = log_sum_exp(scores)
    if sinks is not None:
        lse = log_sum_exp(torch.stack([lse, sinks.to(lse.dtype)[None, :, None].expand_as(lse)], dim=-1))
    safe = torch.where(torch.isfinite(lse), lse, torch.zeros_like(lse))
    weights = torch.exp(scores - safe[..., None])  # exp(-inf) = 0 for keys out of sight
    return (weights.to(v.dtype) @ v).transpose(1, 2), lse
