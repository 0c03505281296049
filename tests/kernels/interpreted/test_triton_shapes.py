"""Head sizes, lengths, dtypes, grouped heads, and queries and keys of different lengths."""

import pytest
import torch

from tests.kernels.attention.cases import TOLERANCE, Case, check, relative

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("width", [32, 48, 64, 96, 128])
def test_head_sizes_and_dtypes(width, causal, dtype):
    check(Case(length=67, batch=1, width=width, causal=causal), dtype, "triton")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [1, 17, 64, 192])
def test_lengths(length, causal):
    check(Case(length=length, batch=1, heads=1, causal=causal), torch.float32, "triton")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("length", "keys"), [(5, 67), (67, 5), (64, 130), (130, 64), (1, 100)])
def test_queries_and_keys_of_different_lengths(length, keys, causal):
    check(Case(length=length, keys=keys, batch=1, heads=1, causal=causal), torch.float32, "triton")


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (4, 1)])
def test_grouped_heads(heads, kv_heads):
    check(Case(length=40, batch=2, heads=heads, kv_heads=kv_heads), torch.float32, "triton")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_logits_give_finite_gradients(dtype):
    """Logits to ±120 and rows that the mask leaves with the small ones: exponentials that must not overflow."""
    case = Case(length=67, batch=1, heads=1, window=30)
    tensors = case.tensors(dtype)
    q, k = tensors["q"].sign() * 5.0, tensors["k"].sign() * 5.0  # 32 products of ±25, scaled: to ±141
    k[:, ::3] = -q[:, ::3, :1]
    inputs = {"q": q.requires_grad_(), "k": k.requires_grad_(), "v": tensors["v"].requires_grad_()}
    out, _ = case.call(inputs, "triton")
    out.backward(tensors["grad"])
    expected, _ = case.call({name: t.detach().double() for name, t in inputs.items()}, "reference")
    assert (out.double() - expected).abs().max() < 0.02 * expected.abs().max()
    assert all(torch.isfinite(t.grad).all() for t in inputs.values())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_logits_near_minus_120(dtype):
    """Every logit of a row so low that its exponential underflows in float32, unless the maximum is taken off."""
    case = Case(length=67, batch=1, heads=1)
    tensors = case.tensors(dtype, spread=0.05)
    level = (120 * 32**-0.5) ** 0.5  # 32 products of -level², scaled by 32 ** -0.5: -120
    q, k = tensors["q"] + level, tensors["k"] - level
    inputs = {"q": q.requires_grad_(), "k": k.requires_grad_(), "v": tensors["v"].requires_grad_()}
    exact = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    out, lse = case.call(inputs, "triton")
    expected, expected_lse = case.call(exact, "reference")
    assert expected_lse.max() < -100
    assert relative(lse, expected_lse) < 2e-6
    bound = max(TOLERANCE[dtype], 2e-5)  # float32 keeps a logit of 120 to 8e-6
    assert relative(out, expected) < bound
    out.backward(tensors["grad"])
    expected.backward(tensors["grad"].double())
    for name, tensor in inputs.items():
        assert torch.isfinite(tensor.grad).all(), name
        assert relative(tensor.grad, exact[name].grad) < 2 * bound, name


def test_inputs_may_be_views():
    """Slices of one projection, heads before tokens, and a last dimension that is not contiguous."""
    import kernels

    x = torch.randn(2, 33, 6, 32, generator=torch.Generator().manual_seed(0))
    q, k, v = x[:, :, :4], x[:, :, 4:5], x[:, :, 5:]
    expected = kernels.attention(q, k, v, backend="sdpa")
    assert (kernels.attention(q, k, v, backend="triton") - expected).abs().max() < 2e-6
    heads_first = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    assert (kernels.attention(*heads_first, backend="triton") - expected).abs().max() < 2e-6
    strided = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (q, k, v)]
    assert (kernels.attention(*strided, backend="triton") - expected).abs().max() < 2e-6
