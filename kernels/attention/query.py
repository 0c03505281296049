"""The query side of attention by itself: QK-norm and RoPE of q, and their gradients.

The forward kernel does this while it loads a tile. The backward pass needs the rotated queries many times, so
`query_forward` writes them once, and `query_backward` turns their gradients into those of q and of the norm's weight.
"""

# mypy: allow-untyped-defs
import triton
import triton.language as tl

from kernels.attention.common import load_rows


@triton.jit
def query_piece(
    base, rows, stride, keep, columns, cos, sin, cos_stride, weight, inverse,
    D: tl.constexpr, ROPE: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Columns `columns` of a query tile, normalised and rotated where asked for (Qwen3's order: norm, then RoPE)."""
    x = load_rows(base, rows, stride, columns, keep, True)
    if ROPE or NORM:
        y = x.to(tl.float32)
        if NORM:
            y = y * inverse[:, None] * tl.load(weight + columns).to(tl.float32)[None, :]
        if ROPE:
            # Element d turns with its partner half a head away, by the angle of d mod D / 2.
            half: tl.constexpr = D // 2
            partners = tl.where(columns < half, columns + half, columns - half)
            other = load_rows(base, rows, stride, partners, keep, True).to(tl.float32)
            if NORM:
                other = other * inverse[:, None] * tl.load(weight + partners).to(tl.float32)[None, :]
            angle = tl.where(columns < half, columns, columns - half)
            c = load_rows(cos, rows, cos_stride, angle, keep, True).to(tl.float32)
            s = load_rows(sin, rows, cos_stride, angle, keep, True).to(tl.float32)
            y = y * c + tl.where(columns < half, -1.0, 1.0)[None, :] * other * s
        x = y.to(x.dtype)
    return x


@triton.jit
def inverse_rms(base, rows, stride, keep, eps, DA: tl.constexpr, DB: tl.constexpr):
    """1 / sqrt(mean(x²) + eps) of each row."""
    x = load_rows(base, rows, stride, tl.arange(0, DA), keep, True).to(tl.float32)
    squares = tl.sum(x * x, 1)
    if DB > 0:
        x = load_rows(base, rows, stride, DA + tl.arange(0, DB), keep, True).to(tl.float32)
        squares += tl.sum(x * x, 1)
    return tl.rsqrt(squares / (DA + DB) + eps)


@triton.jit
def load_query(
    base, rows, stride, keep, cos, sin, cos_stride, weight, eps,
    DA: tl.constexpr, DB: tl.constexpr, ROPE: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """A query tile in its two pieces, after QK-norm and RoPE."""
    D: tl.constexpr = DA + DB
    inverse = 1.0
    if NORM:
        inverse = inverse_rms(base, rows, stride, keep, eps, DA, DB)
    a = query_piece(base, rows, stride, keep, tl.arange(0, DA), cos, sin, cos_stride, weight, inverse, D, ROPE, NORM)
    b = a
    if DB > 0:
        b = query_piece(
            base, rows, stride, keep, DA + tl.arange(0, DB), cos, sin, cos_stride, weight, inverse, D, ROPE, NORM
        )
    return a, b


@triton.jit
def query_forward(
    Q, Out, Cos, Sin, Weight, q_batch, q_row, q_head, rope_batch, rope_row, H, M, eps,
    DA: tl.constexpr, DB: tl.constexpr, BLOCK_M: tl.constexpr, ROPE: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Out [B, M, H, D] contiguous = RoPE(norm(Q)). Grid (tiles of rows, B · H)."""
    batch = (tl.program_id(1) // H).to(tl.int64)
    head = tl.program_id(1) % H
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    D: tl.constexpr = DA + DB
    a, b = load_query(
        Q + batch * q_batch + head.to(tl.int64) * q_head, rows, q_row, rows < M,
        Cos + batch * rope_batch, Sin + batch * rope_batch, rope_row, Weight, eps, DA, DB, ROPE, NORM,
    )  # fmt: skip
    pointers = Out + batch * M * H * D + head * D + rows.to(tl.int64)[:, None] * (H * D)
    tl.store(pointers + tl.arange(0, DA)[None, :], a, mask=(rows < M)[:, None])
    if DB > 0:
        tl.store(pointers + DA + tl.arange(0, DB)[None, :], b, mask=(rows < M)[:, None])


@triton.jit
def _unrotated(Grad, rows, stride, keep, columns, cos, sin, cos_stride, D: tl.constexpr, ROPE: tl.constexpr):
    """Columns of the gradient before the rotation."""
    g = load_rows(Grad, rows, stride, columns, keep, True).to(tl.float32)
    if ROPE:
        half: tl.constexpr = D // 2
        partners = tl.where(columns < half, columns + half, columns - half)
        other = load_rows(Grad, rows, stride, partners, keep, True).to(tl.float32)
        angle = tl.where(columns < half, columns, columns - half)
        c = load_rows(cos, rows, cos_stride, angle, keep, True).to(tl.float32)
        s = load_rows(sin, rows, cos_stride, angle, keep, True).to(tl.float32)
        g = g * c + tl.where(columns < half, 1.0, -1.0)[None, :] * other * s
    return g


@triton.jit
def query_backward(
    Q, Grad, GradQ, GradWeight, Cos, Sin, Weight, q_batch, q_row, q_head, rope_batch, rope_row, H, M, eps,
    DA: tl.constexpr, DB: tl.constexpr, BLOCK_M: tl.constexpr, ROPE: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """GradQ from Grad (both [B, M, H, D] contiguous), and each program's share of the weight's gradient.

    GradWeight [tiles · B · H, D]: summed by the caller, in a fixed order. Grid as `query_forward`.
    """
    batch = (tl.program_id(1) // H).to(tl.int64)
    head = tl.program_id(1) % H
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = rows < M
    D: tl.constexpr = DA + DB
    Q += batch * q_batch + head.to(tl.int64) * q_head
    Cos += batch * rope_batch
    Sin += batch * rope_batch
    Grad += batch * M * H * D + head * D
    GradQ += batch * M * H * D + head * D
    first = tl.arange(0, DA)
    g_a = _unrotated(Grad, rows, H * D, inside, first, Cos, Sin, rope_row, D, ROPE)
    g_b = g_a
    second = first
    if DB > 0:
        second = DA + tl.arange(0, DB)
        g_b = _unrotated(Grad, rows, H * D, inside, second, Cos, Sin, rope_row, D, ROPE)
    if NORM:
        inverse = inverse_rms(Q, rows, q_row, inside, eps, DA, DB)[:, None]
        share = GradWeight + (tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)) * D
        x_a = load_rows(Q, rows, q_row, first, inside, True).to(tl.float32) * inverse
        tl.store(share + first, tl.sum(g_a * x_a, 0))
        g_a *= tl.load(Weight + first).to(tl.float32)[None, :]
        mean = tl.sum(g_a * x_a, 1)
        if DB > 0:
            x_b = load_rows(Q, rows, q_row, second, inside, True).to(tl.float32) * inverse
            tl.store(share + second, tl.sum(g_b * x_b, 0))
            g_b *= tl.load(Weight + second).to(tl.float32)[None, :]
            mean += tl.sum(g_b * x_b, 1)
            g_b = (g_b - x_b * (mean / D)[:, None]) * inverse
        g_a = (g_a - x_a * (mean / D)[:, None]) * inverse
    pointers = GradQ + rows.to(tl.int64)[:, None] * (H * D)
    tl.store(pointers + first[None, :], g_a.to(GradQ.dtype.element_ty), mask=(rows < M)[:, None])
    if DB > 0:
        tl.store(pointers + second[None, :], g_b.to(GradQ.dtype.element_ty), mask=(rows < M)[:, None])
