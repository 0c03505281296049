"""Attention in float64, written to be read: the numbers that every other backend is tested against.

Not for use in a model: it materialises every score.
"""

import torch
from torch import Tensor


def attention(
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
    key_padding: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`kernels.attention` in float64: (out [B, S, H, D] float64, log-sum-exp [B, H, S] float64). Differentiable."""
    batch, length, heads, width = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    scale = width**-0.5 if scale is None else scale
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))  # [B, H, S, D]
    k, v = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * scale  # [B, H, S, T]
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    allowed, distance = layout(
        batch, length, keys, causal=causal, window=window, cu_seqlens_q=cu_seqlens_q, cu_seqlens_k=cu_seqlens_k,
        key_padding=key_padding, device=q.device,
    )  # fmt: skip
    if alibi is not None:
        scores = scores - alibi.double()[None, :, None, None] * distance.abs()
    scores = scores.masked_fill(~allowed, -torch.inf)
    if sinks is not None:  # one more key per head that takes probability and gives no value
        sink = sinks.double()[None, :, None, None].expand(batch, heads, length, 1)
        lse = log_sum_exp(torch.cat([scores, sink], dim=-1))
    else:
        lse = log_sum_exp(scores)
    # A query that sees no key gives zero, not NaN: its lse is -inf, which the subtraction must not meet.
    safe = torch.where(torch.isfinite(lse), lse, 0.0)
    weights = torch.where(allowed, torch.exp(scores - safe[..., None]), 0.0)
    return (weights @ v).transpose(1, 2), lse


def log_sum_exp(x: Tensor) -> Tensor:
    """torch.logsumexp over the last dimension, whose gradient is zero, not NaN, where everything is -inf."""
    empty = torch.isneginf(x).all(dim=-1)
    return torch.logsumexp(x.masked_fill(empty[..., None], 0.0), dim=-1).masked_fill(empty, -torch.inf)


def layout(
    batch: int,
    length: int,
    keys: int,
    *,
    causal: bool,
    window: int | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    key_padding: Tensor | None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Which key each query may see, bool, and how far back it is, int64; both [B, 1, S, T] (B may be 1 for distances).

    The last query lines up with the last key, in each document.
    """
    queries = torch.arange(batch * length, device=device)
    columns = torch.arange(batch * keys, device=device)
    if cu_seqlens_q is not None:
        cu_seqlens_k = cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
        starts_q, starts_k = cu_seqlens_q.long().to(device), cu_seqlens_k.long().to(device)
    else:
        starts_q = torch.arange(batch + 1, device=device) * length
        starts_k = torch.arange(batch + 1, device=device) * keys
    document_q = torch.bucketize(queries, starts_q[1:], right=True)  # which document a token is in
    document_k = torch.bucketize(columns, starts_k[1:], right=True)
    last = starts_q.shape[0] - 2
    # Positions counted from the end of the document, so that the last query meets the last key.
    from_end_q = queries - starts_q[1:][document_q.clamp(max=last)]
    from_end_k = columns - starts_k[1:][document_k.clamp(max=last)]
    # Tokens before the first document and after the last belong to none.
    document_q = torch.where((queries >= starts_q[0]) & (queries < starts_q[-1]), document_q, -1)
    document_k = torch.where((columns >= starts_k[0]) & (columns < starts_k[-1]), document_k, -2)
    document_q, from_end_q = (x.view(batch, length, 1) for x in (document_q, from_end_q))
    document_k, from_end_k = (x.view(batch, 1, keys) for x in (document_k, from_end_k))
    distance = from_end_q - from_end_k  # 0: the same place, positive: the key is earlier
    allowed = document_q == document_k
    if causal:
        allowed = allowed & (distance >= 0)
    if window is not None:
        allowed = allowed & (distance < window) if causal else allowed & (distance.abs() < window)
    if key_padding is not None:
        allowed = allowed & key_padding.to(device)[:, None, :]
    return allowed[:, None], distance[:, None]
