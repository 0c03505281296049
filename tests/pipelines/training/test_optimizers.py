"""Optimizers: which weights go where. Updates are held against the papers' rules in tests/oracles."""

from typing import get_args

import pytest
import torch
from torch import nn

from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from pipelines.recipe.train_section import TrainConfig
from pipelines.training.lamb import Lamb
from pipelines.training.muon import BatchedMuon
from pipelines.training.optimizers import build, set_rate, split
from tests.pipelines.training import toy

OPTIMIZERS = get_args(TrainConfig.model_fields["optimizer"].annotation)


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


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
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


def test_muon_takes_convolutions_but_no_other_blocks():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv1d(4, 4, 2), nn.ConvTranspose2d(4, 2, 2), nn.EmbeddingBag(5, 4), nn.Linear(4, 4)
    )
    network.places = nn.Parameter(torch.zeros(1, 7, 4))
    muon, adam = build(TrainConfig(optimizer="muon"), network, (), bf16_units=False)
    assert names(network, muon.param_groups[0]["params"]) == {"0.weight", "1.weight", "4.weight"}
    decaying, plain = (names(network, group["params"]) for group in adam.param_groups)
    assert decaying == {"2.weight", "places"}
    assert plain == {"0.bias", "1.bias", "2.bias", "3.weight", "4.bias"}


@pytest.mark.parametrize("shape", [(8, 2, 3, 3), (24, 2, 2), (6, 6, 1, 1)])
def test_muon_flattens_kernels(shape):
    generator = torch.Generator().manual_seed(2)
    kernel = nn.Parameter(torch.randn(shape, generator=generator))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    ours, theirs = BatchedMuon([kernel], **options), torch.optim.Muon([matrix], **options)
    before = matrix.detach().clone()
    for _ in range(3):
        kernel.grad = torch.randn(shape, generator=generator)
        matrix.grad = kernel.grad.flatten(1)
        ours.step()
        theirs.step()
    moved = float((matrix - before).detach().abs().max())
    assert moved > 0.01
    torch.testing.assert_close(kernel.flatten(1), matrix, atol=moved * 0.05, rtol=0)


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match=r"\(3,\) is no matrix"):
        BatchedMuon([nn.Parameter(torch.zeros(3))])


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad"])
def test_the_formulas_of_the_plain_ones(optimizer):
    """One matrix against the textbook: decay is added to the gradient, and the options are the recipe's."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Linear(3, 4, bias=False)
    momentum, decay, lr, eps, alpha = 0.7, 0.1, 0.05, 1e-3, 0.6
    config = TrainConfig(optimizer=optimizer, lr=lr, momentum=momentum, weight_decay=decay, eps=eps, betas=(0.5, alpha))
    (built,) = build(config, network, (), bf16_units=False)
    x = network.weight.detach().double().clone()
    start, m, v = x.clone(), torch.zeros(4, 3).double(), torch.zeros(4, 3).double()
    for _ in range(3):
        gradient = torch.randn(4, 3, generator=generator)
        network.weight.grad = gradient.clone()
        built.step()
        g = gradient.double() + decay * x
        if optimizer == "sgd":
            m = momentum * m + g
            x = x - lr * m
        elif optimizer == "rmsprop":
            v = alpha * v + (1 - alpha) * g**2
            m = momentum * m + g / (v.sqrt() + eps)
            x = x - lr * m
        else:
            v = v + g**2
            x = x - lr * g / (v.sqrt() + eps)
    torch.testing.assert_close(network.weight.detach().double(), x, atol=1e-6, rtol=1e-5)
    assert (x - start).abs().max() > 0.01


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_is_the_same(tmp_path, optimizer):
    """A network with convolutions and without `layers`, stopped and taken up after each step."""
    whole = toy.trainer(tmp_path / "whole", optimizer=optimizer)
    first = {name: x.clone() for name, x in whole.whole().items()}
    while whole.counters.step < 4:
        whole.step()
    for number in range(1, 5):
        part = toy.trainer(tmp_path / "part", optimizer=optimizer)
        part.step()
        assert part.counters.step == number
        part.save(None)
    end = toy.trainer(tmp_path / "part", optimizer=optimizer).whole()
    assert all(torch.equal(x, end[name]) for name, x in whole.whole().items())
    assert all((first[name] != end[name]).any() for name in ("convolution.weight", "first.weight", "head.bias"))


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


def test_no_closures():
    for optimizer in (Lamb(matrices()), BatchedMuon(matrices())):
        with pytest.raises(ValueError, match="no closure"):
            optimizer.step(lambda: 0.0)
