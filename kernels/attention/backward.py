"""Fused attention, backward, in three kernels without atomics, so that gradients are equal to the bit between runs.

`attention_delta` makes each row's sum of out · grad_out; `attention_grad_kv` walks, for a tile of keys, the queries
that see it, over all query heads of its group; `attention_grad_q` walks the keys as the forward pass does. Scores are
recomputed from the saved log-sum-exp (Dao 2023, arXiv:2307.08691, algorithm 2). Queries are already rotated here.
"""

# mypy: allow-untyped-defs
import triton
import triton.language as tl

from kernels.attention.common import LOG2E, key_tile, load_rows, phases, product, query_tile, scores, tile_start


@triton.jit
def attention_delta(
    Out, Grad, GradLse, Delta, o_batch, o_row, o_head, g_batch, g_row, g_head, H, M,
    DA: tl.constexpr, DB: tl.constexpr, BLOCK_M: tl.constexpr, LSE: tl.constexpr,
):  # fmt: skip
    """Delta [B, H, M] = sum over D of Out · Grad, minus the log-sum-exp's own gradient. Grid (tiles of rows, B · H)."""
    batch = (tl.program_id(1) // H).to(tl.int64)
    head = tl.program_id(1) % H
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    Out += batch * o_batch + head.to(tl.int64) * o_head
    Grad += batch * g_batch + head.to(tl.int64) * g_head
    inside = rows < M
    columns = tl.arange(0, DA)
    out = load_rows(Out, rows, o_row, columns, inside, True).to(tl.float32)
    delta = tl.sum(out * load_rows(Grad, rows, g_row, columns, inside, True).to(tl.float32), 1)
    if DB > 0:
        columns = DA + tl.arange(0, DB)
        out = load_rows(Out, rows, o_row, columns, inside, True).to(tl.float32)
        delta += tl.sum(out * load_rows(Grad, rows, g_row, columns, inside, True).to(tl.float32), 1)
    place = (batch * H + head) * M + rows
    if LSE:
        delta -= tl.load(GradLse + place, mask=inside, other=0.0)
    tl.store(Delta + place, delta, mask=inside)


@triton.jit
def _weights(raw, lse, centers, columns, scale, softcap, slope, SOFTCAP: tl.constexpr, ALIBI: tl.constexpr):
    """(probabilities before masking, derivative of the logits by the raw scores without `scale`)."""
    logits, cap = scores(raw, centers, columns, scale, softcap, slope, SOFTCAP, ALIBI)
    # A row that saw no key has lse = -inf and is masked everywhere; keep its exponent finite.
    p = tl.exp2(logits - tl.where(lse == float("-inf"), float("inf"), lse * LOG2E))
    slant = 1.0
    if SOFTCAP:
        slant = 1.0 - cap * cap
    return p, slant


@triton.jit
def _grad_kv_steps(
    first, count, before, full, k_a, k_b, v_a, v_b, dk_a, dk_b, dv_a, dv_b, Q, Grad, Lse, Delta, Slopes,
    q_row, q_head, g_row, g_head, seen_keys, lo, hi, keys, offsets, scale, softcap,
    GROUP: tl.constexpr, DA: tl.constexpr, DB: tl.constexpr, BLOCK_M: tl.constexpr, MASKED: tl.constexpr,
    SOFTCAP: tl.constexpr, ALIBI: tl.constexpr, PADDING: tl.constexpr, UPCAST: tl.constexpr,
    PRECISION: tl.constexpr, limit,
):  # fmt: skip
    """Add `count` tiles of queries of each head of the group to the gradients of a tile of keys, in one loop, so that
    its pipeline runs on from head to head. Scores are [keys, queries]; the pointers are those of the first head."""
    for i in range(GROUP * count):
        tile = i
        member = 0
        if GROUP > 1:
            member = i // count
            tile = i - member * count
        rows = tile_start(first, tile, before, full, BLOCK_M, MASKED) + tl.arange(0, BLOCK_M)
        keep = rows < limit
        q = Q
        g = Grad
        lse_row = Lse
        delta_row = Delta
        if GROUP > 1:
            far = tl.cast(member, tl.int64)
            q += far * q_head
            g += far * g_head
            lse_row += far * limit
            delta_row += far * limit
        q_a = load_rows(q, rows, q_row, tl.arange(0, DA), keep, MASKED)
        g_a = load_rows(g, rows, g_row, tl.arange(0, DA), keep, MASKED)
        raw = product(k_a, tl.trans(q_a), UPCAST, PRECISION)
        dp = product(v_a, tl.trans(g_a), UPCAST, PRECISION)
        if DB > 0:
            q_b = load_rows(q, rows, q_row, DA + tl.arange(0, DB), keep, MASKED)
            g_b = load_rows(g, rows, g_row, DA + tl.arange(0, DB), keep, MASKED)
            raw += product(k_b, tl.trans(q_b), UPCAST, PRECISION)
            dp += product(v_b, tl.trans(g_b), UPCAST, PRECISION)
        if MASKED:
            lse = tl.load(lse_row + rows, mask=keep, other=0.0)
            delta = tl.load(delta_row + rows, mask=keep, other=0.0)
        else:
            lse = tl.load(lse_row + rows)
            delta = tl.load(delta_row + rows)
        slope = 0.0
        if ALIBI:
            slope = tl.load(Slopes + member).to(tl.float32)
        p, slant = _weights(
            raw, lse[None, :], rows[None, :] + offsets[:, None], keys[:, None], scale, softcap, slope, SOFTCAP, ALIBI
        )
        if MASKED:
            seen = (rows[None, :] >= lo[:, None]) & (rows[None, :] < hi[:, None])
            if PADDING:
                seen &= seen_keys[:, None]
            p = tl.where(seen, p, 0.0)
        ds = p * (dp - delta[None, :]) * slant
        dv_a += product(p, g_a, UPCAST, PRECISION)
        dk_a += product(ds, q_a, UPCAST, PRECISION)
        if DB > 0:
            dv_b += product(p, g_b, UPCAST, PRECISION)
            dk_b += product(ds, q_b, UPCAST, PRECISION)
    return dk_a, dk_b, dv_a, dv_b


@triton.jit
def _store(base, rows, stride, limit, a, b, DA: tl.constexpr, DB: tl.constexpr):
    pointers = base + rows.to(tl.int64)[:, None] * stride
    tl.store(pointers + tl.arange(0, DA)[None, :], a.to(base.dtype.element_ty), mask=(rows < limit)[:, None])
    if DB > 0:
        columns = DA + tl.arange(0, DB)
        tl.store(pointers + columns[None, :], b.to(base.dtype.element_ty), mask=(rows < limit)[:, None])


@triton.jit
def attention_grad_kv(
    Q, K, V, Grad, Lse, Delta, GradK, GradV, Slopes, Ranges, Padding,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head, g_batch, g_row, g_head, padding_batch,
    H, M, N, window, scale, softcap,
    GROUP: tl.constexpr, DA: tl.constexpr, DB: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr, ALIBI: tl.constexpr,
    PACKED: tl.constexpr, PADDING: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of keys, B · Hkv). GradK, GradV [B, N, Hkv, D] contiguous; Ranges int32 [3, N]: each key's queries'
    start, end, and offset (a query's own key is query + offset)."""
    KV = H // GROUP
    batch = (tl.program_id(1) // KV).to(tl.int64)
    kv_head = tl.program_id(1) % KV
    D: tl.constexpr = DA + DB
    K += batch * k_batch + kv_head.to(tl.int64) * k_head
    V += batch * v_batch + kv_head.to(tl.int64) * v_head
    out = batch * N * KV * D + kv_head * D
    keys = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = keys < N
    offsets, lo, hi, lo_first, hi_first, lo_last, hi_last = key_tile(
        Ranges, tl.program_id(0) * BLOCK_N, keys, M, N, window, CAUSAL, WINDOW, PACKED
    )
    seen_keys = inside
    if PADDING:
        seen_keys = tl.load(Padding + batch * padding_batch + keys, mask=inside, other=0) != 0

    k_a = load_rows(K, keys, k_row, tl.arange(0, DA), seen_keys, True)
    v_a = load_rows(V, keys, v_row, tl.arange(0, DA), seen_keys, True)
    k_b = k_a
    v_b = v_a
    dk_a = tl.zeros([BLOCK_N, DA], tl.float32)
    dv_a = tl.zeros([BLOCK_N, DA], tl.float32)
    dk_b = dk_a
    dv_b = dv_a
    if DB > 0:
        k_b = load_rows(K, keys, k_row, DA + tl.arange(0, DB), seen_keys, True)
        v_b = load_rows(V, keys, v_row, DA + tl.arange(0, DB), seen_keys, True)
        dk_b = tl.zeros([BLOCK_N, DB], tl.float32)
        dv_b = tl.zeros([BLOCK_N, DB], tl.float32)

    first, full, before, masked = phases(lo_first, hi_last, lo_last, hi_first, BLOCK_M, PADDING)
    head = (kv_head * GROUP).to(tl.int64)
    Q += batch * q_batch + head * q_head
    Grad += batch * g_batch + head * g_head
    Lse += (batch * H + head) * M
    Delta += (batch * H + head) * M
    if ALIBI:
        Slopes += head
    dk_a, dk_b, dv_a, dv_b = _grad_kv_steps(
        first, full, before, full, k_a, k_b, v_a, v_b, dk_a, dk_b, dv_a, dv_b, Q, Grad, Lse, Delta, Slopes,
        q_row, q_head, g_row, g_head, seen_keys, lo, hi, keys, offsets, scale, softcap,
        GROUP, DA, DB, BLOCK_M, False, SOFTCAP, ALIBI, False, UPCAST, PRECISION, M,
    )  # fmt: skip
    dk_a, dk_b, dv_a, dv_b = _grad_kv_steps(
        lo_first, masked, before, full, k_a, k_b, v_a, v_b, dk_a, dk_b, dv_a, dv_b, Q, Grad, Lse, Delta, Slopes,
        q_row, q_head, g_row, g_head, seen_keys, lo, hi, keys, offsets, scale, softcap,
        GROUP, DA, DB, BLOCK_M, True, SOFTCAP, ALIBI, PADDING, UPCAST, PRECISION, M,
    )  # fmt: skip
    _store(GradK + out, keys, KV * D, N, dk_a * scale, dk_b * scale, DA, DB)
    _store(GradV + out, keys, KV * D, N, dv_a, dv_b, DA, DB)


@triton.jit
def _grad_q_steps(
    first, count, before, full, q_a, q_b, g_a, g_b, dq_a, dq_b, lse, delta, K, V, k_row, v_row, Padding,
    lo, hi, centers, scale, softcap, slope,
    DA: tl.constexpr, DB: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr, SOFTCAP: tl.constexpr,
    ALIBI: tl.constexpr, PADDING: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr, limit,
):  # fmt: skip
    """Add `count` tiles of keys to the gradients of a tile of queries. Scores are [queries, keys]."""
    for i in range(count):
        columns = tile_start(first, i, before, full, BLOCK_N, MASKED) + tl.arange(0, BLOCK_N)
        keep = columns < limit
        if PADDING:
            keep &= tl.load(Padding + columns, mask=keep, other=0) != 0
        k_a = load_rows(K, columns, k_row, tl.arange(0, DA), keep, MASKED)
        v_a = load_rows(V, columns, v_row, tl.arange(0, DA), keep, MASKED)
        raw = product(q_a, tl.trans(k_a), UPCAST, PRECISION)
        dp = product(g_a, tl.trans(v_a), UPCAST, PRECISION)
        if DB > 0:
            k_b = load_rows(K, columns, k_row, DA + tl.arange(0, DB), keep, MASKED)
            v_b = load_rows(V, columns, v_row, DA + tl.arange(0, DB), keep, MASKED)
            raw += product(q_b, tl.trans(k_b), UPCAST, PRECISION)
            dp += product(g_b, tl.trans(v_b), UPCAST, PRECISION)
        p, slant = _weights(
            raw, lse[:, None], centers[:, None], columns[None, :], scale, softcap, slope, SOFTCAP, ALIBI
        )
        if MASKED:
            seen = (columns[None, :] >= lo[:, None]) & (columns[None, :] < hi[:, None])
            if PADDING:
                seen &= keep[None, :]
            p = tl.where(seen, p, 0.0)
        ds = p * (dp - delta[:, None]) * slant
        dq_a += product(ds, k_a, UPCAST, PRECISION)
        if DB > 0:
            dq_b += product(ds, k_b, UPCAST, PRECISION)
    return dq_a, dq_b


@triton.jit
def attention_grad_q(
    Q, K, V, Grad, Lse, Delta, GradQ, Slopes, Ranges, Padding,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head, g_batch, g_row, g_head, padding_batch,
    H, M, N, window, scale, softcap,
    GROUP: tl.constexpr, DA: tl.constexpr, DB: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr, ALIBI: tl.constexpr,
    PACKED: tl.constexpr, PADDING: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of queries, B · H). GradQ [B, M, H, D] contiguous; Ranges as in `attention_forward`."""
    tile = tl.program_id(0)
    if CAUSAL and not PACKED:
        tile = tl.num_programs(0) - 1 - tile
    batch = (tl.program_id(1) // H).to(tl.int64)
    head = tl.program_id(1) % H
    kv_head = head // GROUP
    D: tl.constexpr = DA + DB
    Q += batch * q_batch + head.to(tl.int64) * q_head
    K += batch * k_batch + kv_head.to(tl.int64) * k_head
    V += batch * v_batch + kv_head.to(tl.int64) * v_head
    Grad += batch * g_batch + head.to(tl.int64) * g_head
    if PADDING:
        Padding += batch * padding_batch
    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = rows < M
    centers, lo, hi, lo_first, hi_first, lo_last, hi_last = query_tile(
        Ranges, tile * BLOCK_M, rows, M, N, window, CAUSAL, WINDOW, PACKED
    )
    q_a = load_rows(Q, rows, q_row, tl.arange(0, DA), inside, True)
    g_a = load_rows(Grad, rows, g_row, tl.arange(0, DA), inside, True)
    q_b = q_a
    g_b = g_a
    dq_a = tl.zeros([BLOCK_M, DA], tl.float32)
    dq_b = dq_a
    if DB > 0:
        q_b = load_rows(Q, rows, q_row, DA + tl.arange(0, DB), inside, True)
        g_b = load_rows(Grad, rows, g_row, DA + tl.arange(0, DB), inside, True)
        dq_b = tl.zeros([BLOCK_M, DB], tl.float32)
    lse = tl.load(Lse + (batch * H + head) * M + rows, mask=inside, other=0.0)
    delta = tl.load(Delta + (batch * H + head) * M + rows, mask=inside, other=0.0)
    slope = 0.0
    if ALIBI:
        slope = tl.load(Slopes + head).to(tl.float32)

    first, full, before, masked = phases(lo_first, hi_last, lo_last, hi_first, BLOCK_N, PADDING)
    dq_a, dq_b = _grad_q_steps(
        first, full, before, full, q_a, q_b, g_a, g_b, dq_a, dq_b, lse, delta, K, V, k_row, v_row, Padding,
        lo, hi, centers, scale, softcap, slope,
        DA, DB, BLOCK_N, False, SOFTCAP, ALIBI, False, UPCAST, PRECISION, N,
    )  # fmt: skip
    dq_a, dq_b = _grad_q_steps(
        lo_first, masked, before, full, q_a, q_b, g_a, g_b, dq_a, dq_b, lse, delta, K, V, k_row, v_row, Padding,
        lo, hi, centers, scale, softcap, slope,
        DA, DB, BLOCK_N, True, SOFTCAP, ALIBI, PADDING, UPCAST, PRECISION, N,
    )  # fmt: skip
    out = batch * M * H * D + head * D
    _store(GradQ + out, rows, H * D, M, dq_a * scale, dq_b * scale, DA, DB)
