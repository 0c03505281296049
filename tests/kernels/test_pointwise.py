"""Hand-written gradients against finite differences, and both paths against formulas in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from kernels import relu2, rms_norm, rotary_qkv, rotary_tables, rotate, swiglu


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


FORMULAS = {
    "rms_norm": (lambda x: rms_norm(x, 1e-3), lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()),
    "swiglu": (swiglu, lambda x: x[..., :5] * torch.sigmoid(x[..., :5]) * x[..., 5:]),
    "relu2": (relu2, lambda x: torch.where(x > 0, x * x, 0)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_and_gradient(name):
    function, formula = FORMULAS[name]
    x = normal(3, 4, 10)
    assert torch.allclose(function(x), formula(x))
    with torch.no_grad():  # the path without hand-written gradients
        assert torch.allclose(function(x), formula(x))
    assert gradcheck(function, (x,))


@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_rotary_qkv(rope, norm):
    qkv, weight_q, weight_k = normal(2, 5, 7 * 6), normal(6, seed=1), normal(6, seed=2)
    tables = tuple(table[:5, None].double() for table in rotary_tables(8, 6, 100.0)) if rope else None

    def ours(qkv, weight_q, weight_k):
        return rotary_qkv(qkv, 3, 2, tables, (weight_q, weight_k) if norm else None, 1e-3)

    q, k, v = qkv.view(2, 5, 7, 6).split([3, 2, 2], dim=2)
    if norm:
        q, k = F.rms_norm(q, (6,), weight_q, 1e-3), F.rms_norm(k, (6,), weight_k, 1e-3)
    if tables is not None:
        q, k = rotate(q, *tables), rotate(k, *tables)
    for path in (torch.enable_grad, torch.no_grad):
        with path():
            assert all(torch.allclose(a, b) for a, b in zip(ours(qkv, weight_q, weight_k), (q, k, v), strict=True))
    assert gradcheck(ours, (qkv, weight_q, weight_k))


def test_rotation_is_llamas():
    """Position p turns the pair (i, i + D/2) by p · theta^(-2i/D)."""
    cos, sin = rotary_tables(10, 8, 10_000.0)
    x = normal(1, 10, 1, 8).float()
    out = rotate(x, cos[:, None], sin[:, None])
    angle = torch.tensor(7 * 10_000.0 ** (-2 * 3 / 8))
    expected = x[0, 7, 0, 3] * angle.cos() - x[0, 7, 0, 7] * angle.sin()
    assert torch.allclose(out[0, 7, 0, 3], expected, atol=1e-6)
    assert torch.allclose(out.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


@pytest.mark.parametrize("positions_per_row", [False, True])
def test_autocast_gives_its_dtype_and_near_numbers(positions_per_row):
    qkv, weights = normal(2, 5, 6 * 8).float(), (normal(8, seed=1).float(), normal(8, seed=2).float())
    cos, sin = (table[:5, None] for table in rotary_tables(8, 8, 100.0))
    tables = (cos.expand(2, -1, -1, -1), sin.expand(2, -1, -1, -1)) if positions_per_row else (cos, sin)
    with torch.no_grad():
        expected = rotary_qkv(qkv, 2, 2, tables, weights, 1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert rms_norm(qkv, 1e-5).dtype == torch.bfloat16
        got = rotary_qkv(qkv.bfloat16(), 2, 2, tables, weights, 1e-5)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - b).abs().max() < 0.03 * b.abs().max()
