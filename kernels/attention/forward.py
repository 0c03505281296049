"""Fused attention, forward: FlashAttention-2's online softmax (Dao 2023, arXiv:2307.08691) over key intervals.

One program computes a tile of queries of one head. `kernels.attention.common` explains intervals, split head sizes and
UPCAST; `kernels.attention.op` is the only caller.
"""

# mypy: allow-untyped-defs
import triton
import triton.language as tl

from kernels.attention.common import LN2, LOG2E, load_rows, phases, product, query_tile, scores, tile_start
from kernels.attention.query import load_query


@triton.jit
def _steps(
    first, count, before, full, q_a, q_b, acc_a, acc_b, top, total, K, V, k_stride, v_stride, Padding,
    lo, hi, centers, scale, softcap, slope,
    DA: tl.constexpr, DB: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr, SOFTCAP: tl.constexpr,
    ALIBI: tl.constexpr, PADDING: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr, limit,
):  # fmt: skip
    """Take `count` tiles of keys into the running maximum `top`, sum `total` and output `acc` (see `tile_start`)."""
    plain: tl.constexpr = not SOFTCAP and not ALIBI
    for i in range(count):
        columns = tile_start(first, i, before, full, BLOCK_N, MASKED) + tl.arange(0, BLOCK_N)
        keep = columns < limit
        if PADDING:  # zeros in place of padding, whatever it holds: nothing times not-a-number is not nothing
            keep &= tl.load(Padding + columns, mask=keep, other=0) != 0
        k = load_rows(K, columns, k_stride, tl.arange(0, DA), keep, MASKED)
        raw = product(q_a, tl.trans(k), UPCAST, PRECISION)
        if DB > 0:
            k = load_rows(K, columns, k_stride, DA + tl.arange(0, DB), keep, MASKED)
            raw += product(q_b, tl.trans(k), UPCAST, PRECISION)
        if plain:  # scale inside the exponent's multiply-add; scale is positive, so the maximum may come first
            logits = raw
            factor = scale * LOG2E
        else:
            logits, _ = scores(raw, centers[:, None], columns[None, :], scale, softcap, slope, SOFTCAP, ALIBI)
            factor = 1.0
        if MASKED:
            seen = (columns[None, :] >= lo[:, None]) & (columns[None, :] < hi[:, None])
            if PADDING:
                seen &= keep[None, :]
            logits = tl.where(seen, logits, float("-inf"))
        new_top = tl.maximum(top, tl.max(logits, 1) * factor)
        base = new_top
        if MASKED:  # a row that has seen no key yet: subtract 0, not -inf
            base = tl.where(new_top == float("-inf"), 0.0, new_top)
        p = tl.exp2(logits * factor - base[:, None])
        decay = tl.exp2(top - base)
        total = total * decay + tl.sum(p, 1)
        top = new_top
        v = load_rows(V, columns, v_stride, tl.arange(0, DA), keep, MASKED)
        acc_a = acc_a * decay[:, None] + product(p, v, UPCAST, PRECISION)
        if DB > 0:
            v = load_rows(V, columns, v_stride, DA + tl.arange(0, DB), keep, MASKED)
            acc_b = acc_b * decay[:, None] + product(p, v, UPCAST, PRECISION)
    return acc_a, acc_b, top, total


@triton.jit
def attention_forward(
    Q, K, V, Out, Lse, Sinks, Slopes, Ranges, Padding, Cos, Sin, Weight,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head, o_batch, o_row, o_head,
    rope_batch, rope_row, padding_batch,
    H, M, N, window, scale, softcap, eps,
    GROUP: tl.constexpr, DA: tl.constexpr, DB: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr, SINKS: tl.constexpr, ALIBI: tl.constexpr,
    PACKED: tl.constexpr, PADDING: tl.constexpr, ROPE: tl.constexpr, NORM: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of queries, B · H). Lse [B, H, M]; Ranges int32 [3, M]: each query's keys' start, end, offset."""
    tile = tl.program_id(0)
    if CAUSAL and not PACKED:  # the longest rows first, so that short ones fill the tail
        tile = tl.num_programs(0) - 1 - tile
    batch = (tl.program_id(1) // H).to(tl.int64)
    head = tl.program_id(1) % H
    kv_head = head // GROUP
    Q += batch * q_batch + head.to(tl.int64) * q_head
    K += batch * k_batch + kv_head.to(tl.int64) * k_head
    V += batch * v_batch + kv_head.to(tl.int64) * v_head
    Out += batch * o_batch + head.to(tl.int64) * o_head
    Lse += (batch * H + head) * M
    if PADDING:
        Padding += batch * padding_batch
    if ROPE:
        Cos += batch * rope_batch
        Sin += batch * rope_batch

    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    centers, lo, hi, lo_first, hi_first, lo_last, hi_last = query_tile(
        Ranges, tile * BLOCK_M, rows, M, N, window, CAUSAL, WINDOW, PACKED
    )
    q_a, q_b = load_query(Q, rows, q_row, rows < M, Cos, Sin, rope_row, Weight, eps, DA, DB, ROPE, NORM)
    slope = 0.0
    if ALIBI:
        slope = tl.load(Slopes + head).to(tl.float32)
    acc_a = tl.zeros([BLOCK_M, DA], tl.float32)
    acc_b = acc_a
    if DB > 0:
        acc_b = tl.zeros([BLOCK_M, DB], tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)

    first, full, before, masked = phases(lo_first, hi_last, lo_last, hi_first, BLOCK_N, PADDING)
    acc_a, acc_b, top, total = _steps(
        first, full, before, full, q_a, q_b, acc_a, acc_b, top, total, K, V, k_row, v_row, Padding,
        lo, hi, centers, scale, softcap, slope, DA, DB, BLOCK_N, False, SOFTCAP, ALIBI, False, UPCAST, PRECISION, N,
    )  # fmt: skip
    acc_a, acc_b, top, total = _steps(
        lo_first, masked, before, full, q_a, q_b, acc_a, acc_b, top, total, K, V, k_row, v_row, Padding,
        lo, hi, centers, scale, softcap, slope, DA, DB, BLOCK_N, True, SOFTCAP, ALIBI, PADDING, UPCAST, PRECISION, N,
    )  # fmt: skip

    if SINKS:  # one more key, with no value
        sink = tl.load(Sinks + head).to(tl.float32) * LOG2E
        new_top = tl.maximum(top, sink)
        base = tl.where(new_top == float("-inf"), 0.0, new_top)  # as in `_steps`
        decay = tl.exp2(top - base)
        total = total * decay + tl.exp2(sink - base)
        acc_a *= decay[:, None]
        if DB > 0:
            acc_b *= decay[:, None]
        top = new_top
    empty = total == 0.0
    inverse = tl.where(empty, 0.0, 1.0 / tl.where(empty, 1.0, total))
    lse = tl.where(empty, float("-inf"), (top + tl.log2(tl.where(empty, 1.0, total))) * LN2)
    inside = rows < M
    tl.store(Lse + rows, lse, mask=inside)
    pointers = Out + rows.to(tl.int64)[:, None] * o_row
    tl.store(
        pointers + tl.arange(0, DA)[None, :], (acc_a * inverse[:, None]).to(Out.dtype.element_ty), mask=inside[:, None]
    )
    if DB > 0:
        columns = DA + tl.arange(0, DB)
        tl.store(pointers + columns[None, :], (acc_b * inverse[:, None]).to(Out.dtype.element_ty), mask=inside[:, None])
