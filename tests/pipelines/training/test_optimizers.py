"""Optimizers: which weights go where, and updates against the papers' formulas."""

import pytest
import torch
from torch import nn

from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from pipelines.recipe.train_section import TrainConfig
from pipelines.training.lamb import Lamb
from pipelines.training.muon import BatchedMuon, newton_schulz
from pipelines.training.optimizers import build, set_rate, split


@pytest.fixture
def network():
    config = DecoderConfig(vocab_size=11, context=8, layers=2, width=8, heads=2, qk_norm=True, tied=False)
    return Decoder(config, torch.Generator().manual_seed(0))


def names(network: nn.Module, weights) -> set[str]:
    known = {id(weight): name for name, weight in network.named_parameters()}
    return {known[id(weight)] for weight in weights}


def test_split(network):
    hidden, edge, vectors = split(network, ("lm_head.weight",))
    assert names(network, edge) == {"embed_tokens.weight", "lm_head.weight"}
    assert all(name.endswith("proj.weight") for name in names(network, hidden))
    assert len(hidden) == 2 * 7
    assert all("norm" in name for name in names(network, vectors))
    assert len(hidden) + len(edge) + len(vectors) == len(list(network.parameters()))


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "lamb"])
def test_every_weight_has_one_optimizer_and_only_matrices_decay(network, optimizer):
    config = TrainConfig(optimizer=optimizer, lr=0.02, adam_lr=0.003, weight_decay=0.5)
    built = build(config, network, ("lm_head.weight",), bf16_units=False)
    groups = [group for made in built for group in made.param_groups]
    weights = [weight for group in groups for weight in group["params"]]
    assert sorted(map(id, weights)) == sorted(map(id, network.parameters()))
    decaying = {name for group in groups if group["weight_decay"] for name in names(network, group["params"])}
    assert decaying == names(network, split(network, ("lm_head.weight",))[0])
    set_rate(built, 0.5)
    rates = {group["lr"] for group in groups}
    assert rates == ({0.01, 0.0015} if optimizer == "muon" else {0.01})


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(8, 8), (8, 24), (8, 8), (24, 8)]
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)
    return weights


def test_muon_is_pytorchs_muon():
    ours, theirs = matrices(), matrices()
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    batched, plain = BatchedMuon(ours, **options), torch.optim.Muon(theirs, **options)
    for _ in range(3):
        batched.step()
        plain.step()
    for a, b, start in zip(ours, theirs, matrices(), strict=True):
        moved = (b - start).detach().abs().max()
        assert moved > 0.01
        # bfloat16 has 8 bits, and products of several matrices at once round elsewhere
        torch.testing.assert_close(a, b, atol=float(moved) * 0.05, rtol=0)


def test_newton_schulz_makes_singular_values_near_one():
    x = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    for matrix in (x, x.mT.contiguous()):
        out = newton_schulz(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7)
        assert out.shape == matrix.shape
        values = torch.linalg.svdvals(out)
        assert values.min() > 0.5
        assert values.max() < 1.3
        u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
        assert torch.einsum("nij,nij->n", out, u @ vt).min() > 0.8 * 16 * values.mean()


def test_lamb_is_the_papers():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator)
    gradients = [torch.randn(4, 3, generator=generator) for _ in range(3)]
    lr, (b1, b2), eps, decay = 0.01, (0.9, 0.999), 1e-6, 0.1
    weight = nn.Parameter(start.clone())
    optimizer = Lamb([weight], lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay)
    x, m, v = start.double(), torch.zeros(4, 3).double(), torch.zeros(4, 3).double()
    for count, gradient in enumerate(gradients, 1):
        weight.grad = gradient.clone()
        optimizer.step()
        g = gradient.double()
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        update = (m / (1 - b1**count)) / ((v / (1 - b2**count)).sqrt() + eps) + decay * x
        x = x - lr * x.norm() / update.norm() * update
    torch.testing.assert_close(weight.detach().double(), x, atol=1e-6, rtol=1e-5)


def test_lamb_moves_weights_of_norm_zero_and_vectors_as_adam_does():
    zero, vector = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.full((3,), 100.0))
    optimizer = Lamb([zero, vector], lr=0.1, eps=0)
    zero.grad, vector.grad = torch.ones(2, 2), torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), -0.1))
    torch.testing.assert_close(vector.detach(), torch.full((3,), 99.9))


def test_no_closures():
    for optimizer in (Lamb(matrices()), BatchedMuon(matrices())):
        with pytest.raises(ValueError, match="no closure"):
            optimizer.step(lambda: 0.0)
