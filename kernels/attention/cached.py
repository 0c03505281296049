"""Attention of new tokens over a key/value cache, for generation and export.

In PyTorch (eager, torch.export, torch.jit.trace) it is SDPA; while `torch.onnx.export(dynamo=True)` runs it becomes
one `com.microsoft::GroupQueryAttention` node of ONNX Runtime, which rotates, appends to the cache and attends.

Ragged batches, the same in both. Row b holds `lengths[b]` tokens after this call:
- prefill (no cache yet): its prompt is the first `lengths[b]` of the S new tokens, padding follows on the right;
- later: all S new tokens are real, and its cache holds `lengths[b] - S` tokens, at the front; what follows is ignored.
  (ONNX Runtime takes S > 1 over a cache only in a batch of one.)
So the cache a row had is max(lengths[b] - S, 0) tokens, and the new tokens are written right behind them.
Outputs at padding are finite and mean nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.pointwise import rotate


def rotary_tables(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """RoPE's cosines and sines, float32 [context, head_dim / 2] each (Su et al. 2021, arXiv:2104.09864)."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(context, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def positions_of(lengths: Tensor, new: int) -> Tensor:
    """Positions [B, new] of the new tokens, where row b holds lengths[b] tokens with them."""
    start = (lengths.long() - new).clamp(min=0)
    return start[:, None] + torch.arange(new, device=lengths.device)


def cached_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past_k: Tensor,
    past_v: Tensor,
    lengths: Tensor,
    *,
    total: Tensor | None = None,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Causal attention of new tokens over cached ones and themselves.

    Args:
        q: [B, S, H, D] of the new tokens, not yet rotated.
        k: [B, S, Hkv, D]; v likewise.
        past_k: [B, Hkv, P, D], rotated; past_v likewise. P may be 0.
        lengths: int [B], tokens in each row with the new ones (see above).
        total: int32 [], the longest row with the new ones; only the ONNX graph reads it.
        cos: [context, D / 2] RoPE tables, with sin; None: no RoPE.
        scale: of the scores; default D ** -0.5.

    Returns: out [B, S, H, D]; present k, v [B, Hkv, P + S, D] (in ONNX Runtime: max(P, total) instead of P + S, which
    lets past and present share one buffer). Raises ValueError when only one of cos and sin is given.
    """
    if (cos is None) != (sin is None):
        raise ValueError("cached_attention: cos and sin come together")
    if torch.onnx.is_in_onnx_export():
        return _onnx(q, k, v, past_k, past_v, lengths, total, cos, sin, scale)
    new, past = q.shape[1], past_k.shape[2]
    grouped = bool(q.shape[2] != k.shape[2])  # torch.jit.trace makes tensors of shapes
    positions = positions_of(lengths, new)  # [B, S]
    if cos is not None and sin is not None:
        cos, sin = cos[positions][:, :, None].to(q.dtype), sin[positions][:, :, None].to(q.dtype)  # [B, S, 1, D / 2]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    index = positions[:, None, :, None].expand(-1, k.shape[2], -1, k.shape[3])  # [B, Hkv, S, D]
    present_k = F.pad(past_k, (0, 0, 0, new)).scatter(2, index, k.transpose(1, 2))
    present_v = F.pad(past_v, (0, 0, 0, new)).scatter(2, index, v.transpose(1, 2))
    visible = torch.arange(past + new, device=q.device) <= positions[:, None, :, None]  # [B, 1, S, P + S]
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), present_k, present_v, attn_mask=visible, scale=scale, enable_gqa=grouped
    )
    return out.transpose(1, 2), present_k, present_v


def _onnx(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past_k: Tensor,
    past_v: Tensor,
    lengths: Tensor,
    total: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    scale: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as one GroupQueryAttention node (ONNX Runtime's ContribOperators.md, version 1)."""
    batch, new, heads, width = q.shape
    kv_heads, past = k.shape[2], past_k.shape[2]
    if total is None:
        raise ValueError("cached_attention: the ONNX graph needs total")
    inputs: list[Tensor | None] = [
        q.reshape(batch, new, heads * width),
        k.reshape(batch, new, kv_heads * width),
        v.reshape(batch, new, kv_heads * width),
        past_k,
        past_v,
        (lengths - 1).to(torch.int32),  # GroupQueryAttention counts from the last valid index
        total,
    ]
    if cos is not None:
        inputs += [cos, sin]
    attributes = {
        "num_heads": heads,
        "kv_num_heads": kv_heads,
        "scale": width**-0.5 if scale is None else scale,
        "do_rotary": int(cos is not None),
    }
    cache = [batch, kv_heads, past + new, width]
    out, present_k, present_v = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention", inputs, attributes,
        dtypes=[q.dtype] * 3, shapes=[[batch, new, heads * width], cache, cache], version=1,
    )  # fmt: skip
    return out.view(batch, new, heads, width), present_k, present_v
