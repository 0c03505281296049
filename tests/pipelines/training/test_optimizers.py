"""Optimizers: which weights go where. Updates are held against the papers' rules in tests/oracles."""

import pytest
import torch
from torch import nn

from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from pipelines.recipe.train_section import TrainConfig
from pipelines.training.lamb import Lamb
from pipelines.training.muon import BatchedMuon
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


def test_no_closures():
    for optimizer in (Lamb(matrices()), BatchedMuon(matrices())):
        with pytest.raises(ValueError, match="no closure"):
            optimizer.step(lambda: 0.0)
