"""Windows, padding, soft cap, sinks, ALiBi, RoPE and norm of the queries, each alone and together."""

import pytest
import torch

import kernels
from tests.kernels.attention.cases import Case, check
from tests.kernels.layouts import agree, normal


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 20, 64, 100])
def test_windows(window, causal):
    check(Case(length=150, batch=1, heads=1, window=window, causal=causal), torch.float32, "triton")


def test_windows_with_more_keys_than_queries():
    check(Case(length=30, keys=150, batch=1, heads=1, window=40), torch.float32, "triton")
    check(Case(length=150, keys=70, batch=1, heads=1, window=40, causal=False), torch.float32, "triton")


@pytest.mark.parametrize("padding", [(67, 67), (67, 20), (1, 0)])
@pytest.mark.parametrize("causal", [True, False])
def test_padding(padding, causal):
    check(Case(length=67, heads=1, padding=padding, causal=causal), torch.float32, "triton")


def test_padding_may_be_anywhere_and_hide_values_that_are_not_finite():
    q, k, v = (torch.randn(1, 40, 1, 32, generator=torch.Generator().manual_seed(s)) for s in range(3))
    real = torch.arange(40)[None] % 3 != 1
    v[0, ~real[0]] = torch.nan
    out = kernels.attention(q, k, v, causal=False, key_padding=real, backend="triton")
    expected = kernels.attention(q, k[:, real[0]], v[:, real[0]], causal=False, backend="sdpa")
    assert (out - expected).abs().max() < 2e-6


FEATURES = {
    "softcap": Case(length=67, batch=1, softcap=3.0),
    "softcap, high": Case(length=67, batch=1, softcap=50.0, causal=False),
    "sinks": Case(length=67, batch=1, sinks=True),
    "sinks, full": Case(length=67, batch=1, sinks=True, causal=False),
    "alibi": Case(length=67, batch=1, alibi=True),
    "alibi, full": Case(length=40, keys=67, batch=1, alibi=True, causal=False),
    "rope": Case(length=67, batch=1, q_rope=True),
    "norm": Case(length=67, batch=1, q_norm=True),
    "norm, rope": Case(length=67, batch=2, q_norm=True, q_rope=True),
    "norm, rope, 48": Case(length=40, batch=1, width=48, q_norm=True, q_rope=True),
    "norm, rope, 96": Case(length=40, batch=1, width=96, q_norm=True, q_rope=True),
    "together": Case(
        length=100, batch=1, heads=4, kv_heads=2, window=40, softcap=5.0, sinks=True, alibi=True, q_norm=True,
        q_rope=True,
    ),
    "sinks with rows that see no key": Case(length=30, keys=10, batch=1, sinks=True),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FEATURES)
def test_features(name, dtype):
    check(FEATURES[name], dtype, "triton")


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_a_sink_of_minus_infinity_is_none(softcap):
    """Also in rows that see no key, whose output is zero."""
    runs = {}
    for backend in ("triton", "reference"):
        q, k, v = (normal(s, 2, n, 2, 32).requires_grad_() for s, n in enumerate((9, 4, 4)))
        sinks = torch.tensor([-torch.inf, 0.5]).requires_grad_()
        out, lse = kernels.attention(q, k, v, sinks=sinks, softcap=softcap, return_lse=True, backend=backend)
        grads = torch.autograd.grad((out, lse), (q, k, v, sinks), (normal(3, 2, 9, 2, 32), normal(4, 2, 2, 9)))
        names = ("out", "lse", "q", "k", "v", "sinks")
        runs[backend] = dict(zip(names, (out, lse, *grads), strict=True))
    agree(runs["triton"], runs["reference"])
    assert torch.equal(runs["triton"]["out"][:, :5, 0], torch.zeros(2, 5, 32))
    assert runs["triton"]["sinks"][0] == 0


def test_rotation_may_differ_between_rows():
    q, k, v = (torch.randn(2, 20, 2, 32, generator=torch.Generator().manual_seed(s)) for s in range(3))
    angle = torch.rand(2, 20, 16, generator=torch.Generator().manual_seed(3)) * 6
    tables = (angle.cos(), angle.sin())
    rotated = kernels.rotate(q, *(t[:, :, None] for t in tables))
    out = kernels.attention(q, k, v, q_rope=tables, backend="triton")
    assert (out - kernels.attention(rotated, k, v, backend="sdpa")).abs().max() < 2e-6


def test_the_log_sum_exp_has_a_gradient():
    gradients = []
    for backend in ("triton", "sdpa"):
        q, k, v = (torch.randn(1, 40, 2, 32, generator=torch.Generator().manual_seed(s)) for s in range(3))
        sinks = torch.tensor([0.3, -1.0])
        inputs = [x.requires_grad_() for x in (q, k, v, sinks)]
        out, lse = kernels.attention(q, k, v, sinks=sinks, return_lse=True, backend=backend)
        gradients.append(torch.autograd.grad(out.square().sum() + lse.sin().sum(), inputs))
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(*gradients, strict=True))


def test_gradients_are_equal_to_the_bit_between_runs():
    case = Case(length=67, batch=1, heads=4, kv_heads=2, sinks=True, q_norm=True)
    runs = []
    for _ in range(2):
        tensors = {n: t.requires_grad_(n != "grad") for n, t in case.tensors().items()}
        out, _ = case.call(tensors, "triton")
        out.backward(tensors["grad"])
        runs.append([t.grad for n, t in tensors.items() if n != "grad"])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
