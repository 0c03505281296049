"""Head and loss in one against PyTorch's, in chunks and not."""

import importlib

import pytest
import torch
import torch.nn.functional as F

from kernels import linear_cross_entropy

module = importlib.import_module(
    "kernels.cross_entropy.linear_cross_entropy"
)  # the package's attribute is the function


def inputs(count=37, width=12, vocab=50, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return features, weight, torch.randint(0, vocab, (count,), generator=generator)


@pytest.fixture(params=["chunks", "whole"])
def path(request, monkeypatch):
    if request.param == "chunks":
        monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 50 * 16)  # the least there is: 16 rows at once


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [0, 5, 37])
def test_equals_pytorch(reduction, smoothing, ignored):
    features, weight, targets = inputs()
    targets[:ignored] = -100
    expected = F.cross_entropy(
        features.double() @ weight.double().t(), targets, label_smoothing=smoothing, reduction="sum"
    )
    if reduction == "mean":
        expected = expected / max(1, 37 - ignored)
    ours = linear_cross_entropy(features, weight, targets, label_smoothing=smoothing, reduction=reduction)
    assert torch.allclose(ours.double(), expected, rtol=1e-6)
    for a, b in zip(
        torch.autograd.grad(3 * ours, (features, weight)),
        torch.autograd.grad(3 * expected, (features, weight)),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("path")
def test_tokens_that_do_not_count_cost_and_change_nothing():
    """Loss and gradients are those of the other tokens alone; theirs are zero."""
    features, weight, targets = inputs()
    counts = torch.arange(37) % 3 != 1
    ours = linear_cross_entropy(features, weight, targets.where(counts, torch.tensor(-100)), reduction="sum")
    alone = linear_cross_entropy(features[counts], weight, targets[counts], reduction="sum")
    assert torch.allclose(ours, alone)
    (grad, to_weight), (wanted, wanted_weight) = (
        torch.autograd.grad(loss, (features, weight)) for loss in (ours, alone)
    )
    assert not grad[~counts].any()
    assert torch.allclose(grad, wanted, atol=1e-7)
    assert torch.allclose(to_weight, wanted_weight, atol=1e-6)


@pytest.mark.usefixtures("path")
def test_weights_of_tokens_and_leading_dimensions():
    features, weight, targets = inputs(count=36)
    scale = torch.rand(36, generator=torch.Generator().manual_seed(1))
    losses = F.cross_entropy(features @ weight.t(), targets, reduction="none")
    ours = linear_cross_entropy(
        features.view(4, 9, 12), weight, targets.view(4, 9), token_weights=scale.view(4, 9), reduction="sum"
    )
    expected = (losses * scale).sum()
    assert torch.allclose(ours, expected, rtol=1e-5)
    for a, b in zip(
        torch.autograd.grad(ours, (features, weight)), torch.autograd.grad(expected, (features, weight)), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        each = linear_cross_entropy(features.view(4, 9, 12), weight, targets.view(4, 9), reduction="none")
    assert torch.allclose(each.flatten(), losses, rtol=1e-5)


@pytest.mark.usefixtures("path")
def test_huge_logits_stay_finite():
    features, weight, targets = inputs()
    loss = linear_cross_entropy(features * 1e4, weight, targets)
    gradients = torch.autograd.grad(loss, (features, weight))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.usefixtures("path")
def test_autocast():
    features, weight, targets = inputs()
    exact = linear_cross_entropy(features, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rough = linear_cross_entropy(features, weight, targets)
    assert rough.dtype == torch.float32
    assert abs(float(rough.detach() / exact.detach()) - 1) < 0.02
    grads = torch.autograd.grad(rough, (features, weight))
    assert [g.dtype for g in grads] == [torch.float32, torch.float32]
    assert all(
        (a - b).abs().max() < 0.03 * b.abs().max()
        for a, b in zip(grads, torch.autograd.grad(exact, (features, weight)), strict=True)
    )


@pytest.mark.usefixtures("path")
def test_features_may_have_another_dtype_than_the_head():
    features, weight, targets = inputs()
    loss = linear_cross_entropy(features.bfloat16(), weight, targets)
    assert abs(float(loss.detach() / linear_cross_entropy(features, weight, targets).detach()) - 1) < 0.02
    assert torch.autograd.grad(loss, weight)[0].dtype == torch.float32


@pytest.mark.usefixtures("path")
def test_compiles_in_one_graph():
    features, weight, targets = inputs()
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager")
    for count in (37, 20, 33):
        ours = compiled(features[:count], weight, targets[:count])
        expected = linear_cross_entropy(features[:count], weight, targets[:count])
        assert torch.allclose(ours, expected, rtol=1e-5)
        for a, b in zip(
            torch.autograd.grad(ours, (features, weight)),
            torch.autograd.grad(expected, (features, weight)),
            strict=True,
        ):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_custom_op_is_sound():
    features, weight, targets = inputs()
    for scale, training in ((None, True), (None, False), (torch.rand(37), True)):
        needed = (features, weight) if training else (features.detach(), weight.detach())
        torch.library.opcheck(module._op, (*needed, targets, scale, 0.1, training, training, False))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("wrong", [50, -1, -101, 1 << 40])
def test_a_target_that_is_no_word_is_named(wrong):
    features, weight, targets = inputs(count=36)
    targets[20] = wrong
    with pytest.raises(ValueError, match=rf"target of token 20 is {wrong}, not a word in \[0, 50\) or -100"):
        linear_cross_entropy(features.view(4, 9, 12), weight, targets.view(4, 9))


def test_bad_arguments_are_named():
    features, weight, targets = inputs()
    with pytest.raises(ValueError, match="do not fit"):
        linear_cross_entropy(features, weight, targets[:-1])
    with pytest.raises(ValueError, match="do not fit"):
        linear_cross_entropy(features, weight[:, :-1], targets)
    with pytest.raises(ValueError, match=r"token_weights must be \[37\], not \[1\]"):
        linear_cross_entropy(features, weight, targets, token_weights=torch.ones(1))
    with pytest.raises(ValueError, match=r"targets must be int64, not torch.int32"):
        linear_cross_entropy(features, weight, targets.int())
    with pytest.raises(ValueError, match="label_smoothing"):
        linear_cross_entropy(features, weight, targets, label_smoothing=1.0)
    with pytest.raises(ValueError, match="triton has no cpu backend"):
        linear_cross_entropy(features, weight, targets, backend="triton")
    with pytest.raises(ValueError, match="token_weights"):
        linear_cross_entropy(features, weight, targets, reduction="none")


def test_a_frozen_head_gets_no_gradient_and_none_is_kept_for_it():
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(40, 16, generator=generator), torch.randint(0, 20_000, (40,), generator=generator)
    weight = torch.randn(20_000, 16, generator=generator)
    grads, kept, sizes = [], [], []
    for learns in (True, False):
        sizes.clear()
        x, head = features.clone().requires_grad_(), weight.clone().requires_grad_(learns)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            loss = linear_cross_entropy(x, head, targets, reduction="sum")
        loss.backward()
        assert (head.grad is not None) == learns
        grads.append(x.grad)
        kept.append(max(sizes))
    assert torch.equal(*grads)
    assert kept == [weight.numel(), features.numel()]
