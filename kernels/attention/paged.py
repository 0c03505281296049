"""Attention of one new token for each sequence over a paged key/value cache: `paged_attention`.

The cache is a pool of pages, and a table says which pages hold a sequence: sequences grow without being moved, and
can share a prefix. Forward only. On a GPU the split-KV kernels of `kernels.attention.paged_kernel` run, elsewhere (and
to check them) the pages are gathered for `kernels.attention`.
"""

from typing import Literal

import torch
from torch import Tensor

from kernels import tuning
from kernels.attention import support
from kernels.attention.api import attention, check_features

BLOCK_N = 64


def paged_attention(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    table: Tensor,
    lengths: Tensor,
    *,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    alibi: Tensor | None = None,
    q_norm: tuple[Tensor, float] | None = None,
    q_rope: tuple[Tensor, Tensor] | None = None,
    backend: Literal["auto", "triton", "sdpa", "reference"] = "auto",
) -> Tensor:
    """One decoding step.

    Args:
        q: [B, H, D], the new tokens' queries.
        k_pages: [pages, page size, Hkv, D], the new tokens' keys already in it; v_pages likewise.
        table: int32 [B, most pages of a sequence]: token t of row b is in page table[b, t // page size]. Entries past
            a row's length may hold anything.
        lengths: int32 [B], tokens of each row with the new one; 0 gives zeros. On a GPU, where looking would be
            waiting, a row that needs more pages than the table or the pool has is not-a-number.
        q_rope: (cos, sin) [B, D / 2], at each row's position.
        window, scale, softcap, sinks, alibi, q_norm, backend: as in `kernels.attention`.

    Returns: [B, H, D]. Raises ValueError for shapes that do not fit, a backend that cannot run, or, on a CPU, a length
    or page that is not there.
    """
    batch, heads, width = q.shape
    if k_pages.dim() != 4 or k_pages.shape != v_pages.shape or k_pages.shape[3] != width or heads % k_pages.shape[2]:
        raise ValueError(
            f"paged_attention: shapes do not fit: q {list(q.shape)}, k_pages {list(k_pages.shape)}, "
            f"v_pages {list(v_pages.shape)}"
        )
    if table.dim() != 2 or table.shape[0] != batch or tuple(lengths.shape) != (batch,):
        raise ValueError(
            f"paged_attention: table {list(table.shape)} and lengths {list(lengths.shape)} need one row for each of "
            f"{batch} queries"
        )
    if table.dtype != torch.int32 or lengths.dtype != torch.int32:
        raise ValueError(f"paged_attention: table and lengths must be int32, not {table.dtype} and {lengths.dtype}")
    check_features("paged_attention", q, window, softcap, sinks, alibi, q_norm)
    if q_rope is not None and any(tuple(table.shape) != (batch, width // 2) for table in q_rope):
        given = " and ".join(str(list(table.shape)) for table in q_rope)
        raise ValueError(f"paged_attention: q_rope must be [{batch}, {width // 2}] twice, not {given}")
    _check_places(table, lengths, k_pages)
    refusal = support.refusal(q[:, None], k_pages[:1], v_pages[:1], scale=scale, mask=False)
    if backend == "triton" and refusal is not None:
        raise ValueError(f"paged_attention: triton cannot run: {refusal}")
    if backend == "triton" or (backend == "auto" and refusal is None and q.device.type != "cpu"):
        weight, eps = (None, 0.0) if q_norm is None else q_norm
        cos, sin = (None, None) if q_rope is None else q_rope
        return _op(
            q, k_pages, v_pages, table, lengths, sinks, alibi, cos, sin, weight, eps, window or 0,
            width**-0.5 if scale is None else scale, softcap or 0.0,
        )  # fmt: skip
    keys, values = gather(k_pages, table), gather(v_pages, table)
    place = torch.arange(keys.shape[1], device=q.device)
    seen = place < lengths[:, None]
    if window is not None:
        seen &= place >= lengths[:, None] - window
    # A row's last token is not the last column, where `attention` would count distances from: shift rows to the right.
    shift = keys.shape[1] - lengths[:, None]
    index = (place - shift).clamp(min=0)
    seen = seen.gather(1, index) & (place >= shift)
    keys, values = (
        x.gather(1, index[:, :, None, None].expand_as(x)).masked_fill(~seen[:, :, None, None], 0)
        for x in (keys, values)
    )
    rope = None if q_rope is None else (q_rope[0][:, None], q_rope[1][:, None])
    return attention(
        q[:, None], keys, values, causal=False, scale=scale, softcap=softcap, sinks=sinks, alibi=alibi,
        key_padding=seen, q_norm=q_norm, q_rope=rope, backend="reference" if backend == "reference" else "sdpa",
    )[:, 0]  # fmt: skip


def _check_places(table: Tensor, lengths: Tensor, pages: Tensor) -> None:
    """Raise ValueError naming the row whose length or page is not there. On a CPU alone, and eagerly."""
    if table.device.type != "cpu" or torch.compiler.is_compiling():
        return
    size, room = pages.shape[1], table.shape[1] * pages.shape[1]
    wrong = (lengths < 0) | (lengths > room)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"paged_attention: lengths[{row}] is {int(lengths[row])}; the table has room for {room} tokens"
        )
    used = torch.arange(0, room, size) < lengths[:, None]
    wrong = used & ((table < 0) | (table >= pages.shape[0]))
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        page = f"table[{row}, {column}] is {int(table[row, column])}"
        raise ValueError(f"paged_attention: {page}; there are {pages.shape[0]} pages")


def gather(pages: Tensor, table: Tensor) -> Tensor:
    """The table's pages in order: [B, most tokens, Hkv, D]."""
    return pages[table.long().clamp(0, pages.shape[0] - 1)].flatten(1, 2)


def splits(programs: int, most_tokens: int, processors: int) -> int:
    """How many shares to split each sequence's keys into: two programs for each processor, no share under one tile."""
    wanted = -(-2 * processors // programs)
    most = max(1, -(-most_tokens // BLOCK_N))
    return 1 << (min(wanted, most, 128) - 1).bit_length()


@torch.library.custom_op("metroline::paged_attention", mutates_args=())
def _op(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    table: Tensor,
    lengths: Tensor,
    sinks: Tensor | None,
    slopes: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    weight: Tensor | None,
    eps: float,
    window: int,
    scale: float,
    softcap: float,
) -> Tensor:
    from kernels.attention.launch import INTERPRETED, architecture
    from kernels.attention.paged_kernel import paged_combine, paged_split

    batch, heads, width = q.shape
    page, kv_heads = k_pages.shape[1], k_pages.shape[2]
    q, k_pages, v_pages, table = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k_pages, v_pages, table))
    has_sinks, has_slopes, has_rope, has_norm = (t is not None for t in (sinks, slopes, cos, weight))
    processors = 4 if INTERPRETED else torch.cuda.get_device_properties(q.device).multi_processor_count
    shares = splits(batch * kv_heads, table.shape[1] * page, processors)
    part = q.new_empty((batch, heads, shares, width), dtype=torch.float32)
    part_lse = q.new_empty((batch, heads, shares), dtype=torch.float32)
    out = q.new_empty((batch, heads, width))
    group = heads // kv_heads
    first, second = tuning.pieces(width)
    stand_in = q  # for pointers that the switches keep the kernels from reading
    sinks, slopes, cos, sin, weight = (
        stand_in if t is None else t.contiguous() for t in (sinks, slopes, cos, sin, weight)
    )
    with torch.cuda.device_of(q):  # Triton launches on the current device, whatever the tensors'
        paged_split[(shares, batch * kv_heads)](
            q, k_pages, v_pages, part, part_lse, table, lengths.contiguous(), slopes, cos, sin, weight,
            q.stride(0), q.stride(1), *k_pages.stride()[:3], *v_pages.stride()[:3], table.stride(0), cos.stride(0),
            heads, k_pages.shape[0], table.shape[1] * page, window, scale, softcap, eps,
            GROUP=group, DA=first, DB=second, PAGE=page, BLOCK_G=max(16, 1 << (group - 1).bit_length()),
            BLOCK_N=BLOCK_N, SPLITS=shares, WINDOW=window > 0, SOFTCAP=softcap > 0, ALIBI=has_slopes, ROPE=has_rope,
            NORM=has_norm, UPCAST=INTERPRETED and q.dtype == torch.bfloat16,
            PRECISION=tuning.precision(architecture(q.device)), num_warps=4, num_stages=3,
        )  # fmt: skip
        paged_combine[(batch * heads,)](
            part, part_lse, sinks, out, out.stride(0), out.stride(1), heads,
            DA=first, DB=second, SPLITS=shares, SINKS=has_sinks, num_warps=4,
        )  # fmt: skip
    return out


@_op.register_fake
def _(q: Tensor, *_: object) -> Tensor:
    return q.new_empty(q.shape)
