"""The kernel of the fused head and loss: losses and gradients against float64, odd vocabularies, ignored tokens."""

import importlib

import pytest
import torch
import torch.nn.functional as F

from kernels import linear_cross_entropy
from kernels.cross_entropy.triton_cross_entropy import rows

module = importlib.import_module("kernels.cross_entropy.linear_cross_entropy")
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1.5e-2}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("vocab", [7, 128, 1000, 9001])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_gradients(vocab, dtype, smoothing, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 16 * vocab)  # two chunks
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 16, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocab, 16, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, vocab, (20,), generator=generator)
    targets[3:5] = -100
    scale = torch.rand(20, generator=generator)
    ours = linear_cross_entropy(
        features, weight, targets, token_weights=scale, label_smoothing=smoothing, reduction="sum", backend="triton"
    )
    exact = [x.detach().double().requires_grad_() for x in (features, weight)]
    losses = F.cross_entropy(exact[0] @ exact[1].t(), targets, reduction="none", label_smoothing=smoothing)
    expected = (losses * scale).sum()
    bound = TOLERANCE[dtype]
    assert abs(float(ours.detach() / expected.detach()) - 1) < bound
    grads = zip(torch.autograd.grad(ours, (features, weight)), torch.autograd.grad(expected, exact), strict=True)
    assert all((a.double() - b).abs().max() < 2 * bound * b.abs().max() for a, b in grads)


def test_huge_logits_stay_finite():
    features = torch.full((4, 16), 100.0, requires_grad=True)
    weight = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = linear_cross_entropy(features, weight, torch.tensor([0, 1, 2, -100]), backend="triton")
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (features, weight)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("wrong", [50, 1 << 40, -1, -(1 << 40)])
def test_a_target_that_is_no_word_is_not_read(wrong, smoothing):
    """On a GPU nobody looks at the targets first: loss and gradient of its row are not-a-number, the others right."""
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    targets, scale = torch.tensor([3, 7, -100, 49]), torch.ones(4)
    expected, gradients = rows(logits.clone(), targets, scale, smoothing, training=True)
    targets[1] = wrong
    losses, found = rows(logits.clone(), targets, scale, smoothing, training=True)
    others = [0, 2, 3]
    assert torch.equal(losses[others], expected[others])
    assert torch.equal(found[others], gradients[others])
    assert torch.isnan(losses[1])
    assert torch.isnan(found[1]).all()


def test_the_custom_op_is_sound_and_compiles():
    features, weight = torch.randn(20, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (20,))
    torch.library.opcheck(module._op, (features, weight, targets, None, 0.1, True, True, True))
    compiled = torch.compile(
        lambda *args: linear_cross_entropy(*args, backend="triton"), fullgraph=True, backend="aot_eager"
    )
    loss, expected = compiled(features, weight, targets), linear_cross_entropy(features, weight, targets)
    assert torch.allclose(loss, expected, rtol=1e-5)
    for a, b in zip(
        torch.autograd.grad(loss, (features, weight)), torch.autograd.grad(expected, (features, weight)), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
