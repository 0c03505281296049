"""One new token for each sequence over a paged key/value cache: split-KV decoding, in two kernels.

A decoding step has one query a head, too few to fill a GPU, so each sequence's keys are split among programs
(Flash-Decoding, Dao et al. 2023), each of which attends to its share for all query heads of a group at once;
`paged_combine` joins the shares by their log-sum-exps. Keys lie in pages of a pool (Kwon et al. 2023,
arXiv:2309.06180), which a table finds.
"""

# mypy: allow-untyped-defs
import triton
import triton.language as tl

from kernels.attention.common import LN2, LOG2E, product, scores
from kernels.attention.query import load_query


@triton.jit
def _load_keys(base, page, row, stride, columns, keep):
    return tl.load(base + page[:, None] + (row * stride)[:, None] + columns[None, :], mask=keep[:, None], other=0.0)


@triton.jit
def paged_split(
    Q, K, V, Part, PartLse, Table, Lengths, Slopes, Cos, Sin, Weight,
    q_batch, q_head, k_page, k_row, k_head, v_page, v_row, v_head, table_batch, rope_batch,
    H, pages, most, window, scale, softcap, eps,
    GROUP: tl.constexpr, DA: tl.constexpr, DB: tl.constexpr, PAGE: tl.constexpr, BLOCK_G: tl.constexpr,
    BLOCK_N: tl.constexpr, SPLITS: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr, ALIBI: tl.constexpr,
    ROPE: tl.constexpr, NORM: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Grid (SPLITS, B · Hkv). Part float32 [B, H, SPLITS, D] and PartLse [B, H, SPLITS], -inf for an empty share.

    A length beyond the table, or a page beyond the pool, reads nothing and makes the row not-a-number.
    """
    split = tl.program_id(0)
    KV = H // GROUP
    batch = (tl.program_id(1) // KV).to(tl.int64)
    kv_head = tl.program_id(1) % KV
    D: tl.constexpr = DA + DB
    members = tl.arange(0, BLOCK_G)
    heads = kv_head * GROUP + members
    real = members < GROUP
    given = tl.load(Lengths + batch)
    length = tl.minimum(given, most)
    begin = 0
    if WINDOW:
        begin = tl.maximum(length - window, 0)
    tiles = tl.maximum(length - begin + BLOCK_N - 1, 0) // BLOCK_N
    share = (tiles + SPLITS - 1) // SPLITS
    first = begin + split * share * BLOCK_N
    count = tl.minimum(tl.maximum(tiles - split * share, 0), share)

    q_a, q_b = load_query(
        Q + batch * q_batch, heads, q_head, real, Cos + batch * rope_batch, Sin + batch * rope_batch, 0, Weight, eps,
        DA, DB, ROPE, NORM,
    )  # fmt: skip
    slope = tl.zeros([BLOCK_G, 1], tl.float32)
    if ALIBI:
        slope = tl.load(Slopes + heads, mask=real, other=0.0).to(tl.float32)[:, None]
    acc_a = tl.zeros([BLOCK_G, DA], tl.float32)
    acc_b = acc_a
    if DB > 0:
        acc_b = tl.zeros([BLOCK_G, DB], tl.float32)
    top = tl.full([BLOCK_G], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_G], tl.float32)
    K += kv_head.to(tl.int64) * k_head
    V += kv_head.to(tl.int64) * v_head
    for i in range(count):
        columns = first + i * BLOCK_N + tl.arange(0, BLOCK_N)
        keep = columns < length
        page = tl.load(Table + batch * table_batch + columns // PAGE, mask=keep, other=0).to(tl.int64)
        row = (columns % PAGE).to(tl.int64)
        stray = keep & ((page < 0) | (page >= pages))
        keep &= ~stray
        k = _load_keys(K, page * k_page, row, k_row, tl.arange(0, DA), keep)
        raw = product(q_a, tl.trans(k), UPCAST, PRECISION)
        if DB > 0:
            k = _load_keys(K, page * k_page, row, k_row, DA + tl.arange(0, DB), keep)
            raw += product(q_b, tl.trans(k), UPCAST, PRECISION)
        logits, _ = scores(raw, length - 1, columns[None, :], scale, softcap, slope, SOFTCAP, ALIBI)
        logits = tl.where(keep[None, :], logits, tl.where(stray, float("nan"), float("-inf"))[None, :])
        new_top = tl.maximum(top, tl.max(logits, 1))  # finite: a tile that is walked has a key
        p = tl.exp2(logits - new_top[:, None])
        decay = tl.exp2(top - new_top)
        total = total * decay + tl.sum(p, 1)
        top = new_top
        v = _load_keys(V, page * v_page, row, v_row, tl.arange(0, DA), keep)
        acc_a = acc_a * decay[:, None] + product(p, v, UPCAST, PRECISION)
        if DB > 0:
            v = _load_keys(V, page * v_page, row, v_row, DA + tl.arange(0, DB), keep)
            acc_b = acc_b * decay[:, None] + product(p, v, UPCAST, PRECISION)
    total = tl.where((given < 0) | (given > most), float("nan"), total)
    empty = total == 0.0
    inverse = tl.where(empty, 0.0, 1.0 / tl.where(empty, 1.0, total))[:, None]
    lse = tl.where(empty, float("-inf"), (top + tl.log2(tl.where(empty, 1.0, total))) * LN2)
    place = (batch * H + heads) * SPLITS + split
    tl.store(PartLse + place, lse, mask=real)
    tl.store(Part + place[:, None] * D + tl.arange(0, DA)[None, :], acc_a * inverse, mask=real[:, None])
    if DB > 0:
        columns = DA + tl.arange(0, DB)
        tl.store(Part + place[:, None] * D + columns[None, :], acc_b * inverse, mask=real[:, None])


@triton.jit
def paged_combine(
    Part, PartLse, Sinks, Out, o_batch, o_head, H,
    DA: tl.constexpr, DB: tl.constexpr, SPLITS: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """Out [B, H, D]: the shares weighted by exp(lse - joint lse). Grid (B · H)."""
    pair = tl.program_id(0).to(tl.int64)
    head = tl.program_id(0) % H
    D: tl.constexpr = DA + DB
    splits = tl.arange(0, SPLITS)
    lse = tl.load(PartLse + pair * SPLITS + splits)
    top = tl.max(lse, 0)
    if SINKS:
        sink = tl.load(Sinks + head).to(tl.float32)
        top = tl.maximum(top, sink)
    top = tl.where(top == float("-inf"), 0.0, top)
    weights = tl.exp2((lse - top) * LOG2E)
    total = tl.sum(weights, 0)
    if SINKS:
        total += tl.exp2((sink - top) * LOG2E)
    weights = weights / tl.where(total == 0.0, 1.0, total)
    Out += (pair // H) * o_batch + head.to(tl.int64) * o_head
    part = Part + (pair * SPLITS + splits)[:, None] * D
    columns = tl.arange(0, DA)
    out = tl.sum(tl.load(part + columns[None, :]) * weights[:, None], 0)
    tl.store(Out + columns, out.to(Out.dtype.element_ty))
    if DB > 0:
        columns = DA + tl.arange(0, DB)
        out = tl.sum(tl.load(part + columns[None, :]) * weights[:, None], 0)
        tl.store(Out + columns, out.to(Out.dtype.element_ty))
