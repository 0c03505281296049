"""Pieces that the Triton attention kernels share. Imports triton: only where `kernels.attention.support` says so.

**Intervals.** Whatever the masks (causal, window, packed documents, more keys than queries), the keys that a query
sees are one interval [lo, hi), and so are the queries that see a key. Both bounds grow with the index. A tile of
queries therefore walks the keys from its first query's lo to its last query's hi, and between its last query's lo and
its first query's hi no mask is needed.

**Head sizes** that are no power of two are two pieces, DA + DB (48 = 32 + 16, 96 = 64 + 32), so that nothing is
padded, in memory or in the tensor cores. DB = 0: one piece.

**UPCAST**: the interpreter computes bfloat16 products on raw bits, so there operands become float32 first.
"""

# mypy: allow-untyped-defs
import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def keys_of_query(start, end, center, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """[lo, hi) of the keys that a query sees; `center` is the key at its own position, start and end its document's.

    Both stay within [start, end], also where a document has queries and too few keys: they must grow with the query.
    """
    lo = start
    hi = end
    if CAUSAL:
        hi = tl.maximum(tl.minimum(end, center + 1), start)
    if WINDOW:
        lo = tl.minimum(tl.maximum(start, center - window + 1), end)
        if not CAUSAL:
            hi = tl.maximum(tl.minimum(end, center + window), start)
    return lo, hi


@triton.jit
def queries_of_key(start, end, center, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """[lo, hi) of the queries that see a key; `center` is the query at its own position."""
    lo = start
    hi = end
    if CAUSAL:
        lo = tl.minimum(tl.maximum(start, center), end)
    if WINDOW:
        hi = tl.maximum(tl.minimum(end, center + window), start)
        if not CAUSAL:
            lo = tl.minimum(tl.maximum(start, center - window + 1), end)
    return lo, hi


@triton.jit
def query_tile(Ranges, first, rows, M, N, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PACKED: tl.constexpr):
    """For a tile of queries: (centers, lo, hi) of its rows, then lo and hi of its first row and of its last."""
    last = tl.minimum(first + rows.shape[0], M) - 1
    if PACKED:
        inside = rows < M
        centers = rows + tl.load(Ranges + 2 * M + rows, mask=inside, other=0)
        start = tl.load(Ranges + rows, mask=inside, other=0)
        end = tl.load(Ranges + M + rows, mask=inside, other=0)
        first_center = first + tl.load(Ranges + 2 * M + first)
        last_center = last + tl.load(Ranges + 2 * M + last)
        first_start = tl.load(Ranges + first)
        first_end = tl.load(Ranges + M + first)
        last_start = tl.load(Ranges + last)
        last_end = tl.load(Ranges + M + last)
    else:
        centers = rows + (N - M)
        start = rows * 0
        end = rows * 0 + N
        first_center = first + (N - M)
        last_center = last + (N - M)
        first_start = 0
        first_end = N
        last_start = 0
        last_end = N
    lo, hi = keys_of_query(start, end, centers, window, CAUSAL, WINDOW)
    lo_first, hi_first = keys_of_query(first_start, first_end, first_center, window, CAUSAL, WINDOW)
    lo_last, hi_last = keys_of_query(last_start, last_end, last_center, window, CAUSAL, WINDOW)
    return centers, lo, hi, lo_first, hi_first, lo_last, hi_last


@triton.jit
def key_tile(Ranges, first, keys, M, N, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PACKED: tl.constexpr):
    """For a tile of keys: (offsets, lo, hi) of its keys, then lo and hi of its first key and of its last.

    A query's own key is query + offset.
    """
    last = tl.minimum(first + keys.shape[0], N) - 1
    if PACKED:
        inside = keys < N
        offsets = tl.load(Ranges + 2 * N + keys, mask=inside, other=0)
        start = tl.load(Ranges + keys, mask=inside, other=0)
        end = tl.load(Ranges + N + keys, mask=inside, other=0)
        first_center = first - tl.load(Ranges + 2 * N + first)
        last_center = last - tl.load(Ranges + 2 * N + last)
        first_start = tl.load(Ranges + first)
        first_end = tl.load(Ranges + N + first)
        last_start = tl.load(Ranges + last)
        last_end = tl.load(Ranges + N + last)
    else:
        offsets = keys * 0 + (N - M)
        start = keys * 0
        end = keys * 0 + M
        first_center = first - (N - M)
        last_center = last - (N - M)
        first_start = 0
        first_end = M
        last_start = 0
        last_end = M
    lo, hi = queries_of_key(start, end, keys - offsets, window, CAUSAL, WINDOW)
    lo_first, hi_first = queries_of_key(first_start, first_end, first_center, window, CAUSAL, WINDOW)
    lo_last, hi_last = queries_of_key(last_start, last_end, last_center, window, CAUSAL, WINDOW)
    return offsets, lo, hi, lo_first, hi_first, lo_last, hi_last


@triton.jit
def phases(begin, end, full_begin, full_end, STEP: tl.constexpr, PADDING: tl.constexpr):
    """Which tiles begin + i · STEP need a mask, given that [full_begin, full_end) needs none.

    Returns (first tile without, how many without, how many before it, how many with a mask in all). Padding may be
    anywhere, so that with it every tile needs a mask.
    """
    if PADDING:
        full_end = full_begin
    tiles = tl.maximum(end - begin + STEP - 1, 0) // STEP
    before = tl.minimum(tl.maximum(full_begin - begin + STEP - 1, 0) // STEP, tiles)
    full = tl.maximum(tl.maximum(full_end - begin, 0) // STEP - before, 0)
    return begin + before * STEP, full, before, tiles - full


@triton.jit
def tile_start(first, i, before, full, STEP: tl.constexpr, MASKED: tl.constexpr):
    """Where tile i of a loop begins; the loop over masked tiles leaps over those without a mask."""
    start = first + i * STEP
    if MASKED:
        start += tl.where(i >= before, full * STEP, 0)
    return start


@triton.jit
def load_rows(base, rows, stride, columns, keep, MASKED: tl.constexpr):
    """A tile [rows, columns], zero in rows not to `keep`. Offsets are 64-bit: a tensor may pass 2^31 elements."""
    pointers = base + rows.to(tl.int64)[:, None] * stride + columns[None, :]
    if MASKED:
        return tl.load(pointers, mask=keep[:, None], other=0.0)
    return tl.load(pointers)


@triton.jit
def product(a, b, UPCAST: tl.constexpr, PRECISION: tl.constexpr):
    """a @ b in float32, b's dtype the operands' (see UPCAST)."""
    if UPCAST:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision=PRECISION)
    return tl.dot(a.to(b.dtype), b, input_precision=PRECISION)


@triton.jit
def tanh(x):
    """Hyperbolic tangent, float32 to rounding: by its series near zero, where 1 - exp cancels."""
    a = tl.abs(x)
    e = tl.exp2(a * (-2.0 * LOG2E))
    far = (1.0 - e) / (1.0 + e)
    s = x * x
    near = a * (1.0 - s * (1 / 3 - s * (2 / 15 - s * (17 / 315 - s * (62 / 2835)))))
    t = tl.where(a < 0.25, near, far)
    return tl.where(x < 0, -t, t)


@triton.jit
def scores(raw, centers, columns, scale, softcap, slope, SOFTCAP: tl.constexpr, ALIBI: tl.constexpr):
    """Dot products → (logits in base 2, tanh of the soft cap for the backward pass, or the same).

    `centers` and `columns` broadcast to the tile: each query's own key position, and the keys'.
    """
    cap = raw
    if SOFTCAP:
        cap = tanh(raw * (scale / softcap))
        logits = cap * (softcap * LOG2E)
    else:
        logits = raw * (scale * LOG2E)
    if ALIBI:
        logits -= (slope * LOG2E) * tl.abs(centers - columns).to(tl.float32)
    return logits, cap
