"""PyTorch's optimizers and ours (Lamb, BatchedMuon, what `build` makes) against the papers' update rules."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.recipe.train_section import TrainConfig
from pipelines.training.lamb import Lamb
from pipelines.training.muon import JORDAN, POLAR_EXPRESS, BatchedMuon, newton_schulz
from pipelines.training.optimizers import build
from tests.oracles import optimizers as oracle
from tests.oracles.against_torch import assert_close, each_dtype

STEPS = 7
BETAS = (0.8, 0.95)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 5e-6}

CASES = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}, oracle.sgd, {"lr": 0.1}),
    "sgd, momentum": (
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        oracle.sgd,
        {"lr": 0.1, "momentum": 0.9, "decay": 0.01},
    ),
    "sgd, Nesterov": (
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.7, "nesterov": True},
        oracle.sgd,
        {"lr": 0.1, "momentum": 0.7, "nesterov": True},
    ),
    "adam": (torch.optim.Adam, {"lr": 0.02}, oracle.adam, {"lr": 0.02}),
    "adam, decay": (
        torch.optim.Adam,
        {"lr": 0.02, "betas": BETAS, "weight_decay": 0.1},
        oracle.adam,
        {"lr": 0.02, "betas": BETAS, "decay": 0.1},
    ),
    "adamw": (
        torch.optim.AdamW,
        {"lr": 0.02, "betas": BETAS, "eps": 1e-3, "weight_decay": 0.1},
        oracle.adam,
        {"lr": 0.02, "betas": BETAS, "eps": 1e-3, "decay": 0.1, "decoupled": True},
    ),
    "adamw, fused": (
        partial(torch.optim.AdamW, fused=True),
        {"lr": 0.02, "weight_decay": 0.1},
        oracle.adam,
        {"lr": 0.02, "decay": 0.1, "decoupled": True},
    ),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01}, oracle.rmsprop, {"lr": 0.01}),
    "rmsprop, momentum": (
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.8},
        oracle.rmsprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.8},
    ),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.05}, oracle.adagrad, {"lr": 0.05}),
    "lamb": (
        Lamb,
        {"lr": 0.02, "betas": BETAS, "eps": 1e-6, "weight_decay": 0.1},
        oracle.lamb,
        {"lr": 0.02, "betas": BETAS, "eps": 1e-6, "decay": 0.1},
    ),
}
SHAPES = [(3, 4), (5,), (1, 1), (2, 3, 2, 2), (0, 3)]


def make(shape, dtype):
    """(the weight as a parameter, the gradients of its steps), and both as float64 arrays."""
    generator = torch.Generator().manual_seed(3)
    weight = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(STEPS)]
    return weight, gradients, weight.detach().double().numpy().copy(), [g.double().numpy() for g in gradients]


def hold(optimizer, weight, gradients, expected, tolerance):
    for number, (gradient, wanted) in enumerate(zip(gradients, expected, strict=True), 1):
        weight.grad = gradient.clone()
        optimizer.step()
        assert_close(weight, wanted, tolerance, f"the weight after step {number}")


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_updates(name, shape, dtype):
    kind, options, rule, same = CASES[name]
    weight, gradients, start, arrays = make(shape, dtype)
    hold(kind([weight], **options), weight, gradients, rule(start, arrays, **same), TOLERANCES[dtype])


@pytest.mark.parametrize("name", CASES)
def test_no_gradient_and_no_weight(name):
    """Zero gradients move nothing but by decay; a weight of zeros still moves (LAMB: its ratio of norms is 0 / |u|)."""
    kind, options, rule, same = CASES[name]
    for scale_weight, scale_gradient in ((1, 0), (0, 1), (0, 0)):
        weight, gradients, start, arrays = make((3, 4), torch.float64)
        with torch.no_grad():
            weight *= scale_weight
        expected = rule(scale_weight * start, [scale_gradient * g for g in arrays], **same)
        hold(kind([weight], **options), weight, [scale_gradient * g for g in gradients], expected, 1e-12)
        assert bool(weight.detach().any()) == bool(scale_weight or scale_gradient)


MATRICES = [(6, 6), (3, 8), (8, 3), (1, 5), (5, 1), (1, 1)]


@each_dtype
@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_muon(shape, dtype):
    weight, gradients, start, arrays = make(shape, dtype)
    optimizer = BatchedMuon([weight], lr=0.02, momentum=0.9, weight_decay=0.1, dtype=dtype)
    expected = oracle.muon(start, arrays, lr=0.02, momentum=0.9, decay=0.1)
    hold(optimizer, weight, gradients, expected, {torch.float64: 1e-10, torch.float32: 1e-5}[dtype])


@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_newton_schulz_is_the_polynomial_of_the_singular_values(shape):
    matrices = np.random.default_rng(0).normal(size=(3, *shape))
    matrices[1] = np.outer(matrices[1, :, 0], matrices[1, 0])  # of rank 1
    matrices[2] = 0
    for polynomials in (JORDAN[:1], JORDAN, POLAR_EXPRESS[:3], POLAR_EXPRESS):
        out = newton_schulz(torch.from_numpy(matrices), polynomials)
        for ours, matrix in zip(out, matrices, strict=True):
            assert_close(ours, oracle.newton_schulz(matrix, polynomials), 1e-10, f"{len(polynomials)} iterations")


@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_newton_schulz_comes_near_the_orthogonal_matrix(shape):
    """Muon's coefficients leave singular values from 0.68 to 1.21; Newton and Schulz's own (3/2, -1/2) converge."""
    matrix = np.random.default_rng(1).normal(size=(1, *shape))
    nearest = oracle.orthogonal(matrix[0])
    assert np.linalg.norm(newton_schulz(torch.from_numpy(matrix), POLAR_EXPRESS)[0].numpy() - nearest, 2) < 0.2
    rough = newton_schulz(torch.from_numpy(matrix), 5 * [(3.4445, -4.7750, 2.0315)])[0].numpy()
    assert np.linalg.norm(rough - nearest, 2) < 0.35
    exact = newton_schulz(torch.from_numpy(matrix), 60 * [(1.5, -0.5, 0.0)])[0]
    assert_close(exact, nearest, 1e-12, "60 steps")


@pytest.mark.parametrize("steps", [None, 3])
def test_the_recipe_says_which_polynomials(steps):
    config = TrainConfig(steps=1, batch=1, optimizer="muon", polar_steps=steps)
    muon, *_ = build(config, nn.Sequential(nn.Linear(4, 4)), (), bf16_units=False)
    assert muon.polynomials == (JORDAN if steps is None else POLAR_EXPRESS[:3])


class Small(nn.Module):
    """A weight of each sort that `build` tells apart."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.mix = nn.Conv1d(4, 4, 3)
        self.linear = nn.Linear(4, 6)
        self.head = nn.Linear(6, 5, bias=False)


@pytest.mark.parametrize("kind", ["adamw", "lamb", "muon"])
def test_what_build_makes(kind):
    """Each weight by the rule that is meant for it: decay on hidden matrices alone, Muon on those of two dimensions."""
    config = TrainConfig(optimizer=kind, lr=0.02, adam_lr=0.003, betas=BETAS, eps=1e-6, weight_decay=0.5, momentum=0.9)
    torch.manual_seed(0)
    network = Small().double()
    optimizers = build(config, network, ("head.weight",), bf16_units=False)
    generator = torch.Generator().manual_seed(1)
    weights = dict(network.named_parameters())
    starts = {name: w.detach().numpy().copy() for name, w in weights.items()}
    gradients = {
        name: [torch.randn(w.shape, generator=generator, dtype=torch.float64) for _ in range(3)]
        for name, w in weights.items()
    }
    for step in range(3):
        for name, weight in weights.items():
            weight.grad = gradients[name][step].clone()
        for optimizer in optimizers:
            optimizer.step()
    for name, weight in weights.items():
        decay = 0.5 if name in ("mix.weight", "linear.weight") else 0.0
        adam = {"betas": BETAS, "eps": 1e-6, "decay": decay}
        arrays = [g.numpy() for g in gradients[name]]
        if kind == "muon" and name in ("mix.weight", "linear.weight"):  # kernels as rows of a matrix
            flat, rows = starts[name].reshape(len(starts[name]), -1), [g.reshape(len(g), -1) for g in arrays]
            steps = (w.reshape(arrays[0].shape) for w in oracle.muon(flat, rows, lr=0.02, momentum=0.9, decay=0.5))
            tolerance = 1e-6  # in float32
        elif kind == "lamb":
            steps, tolerance = oracle.lamb(starts[name], arrays, lr=0.02, **adam), 1e-12
        else:
            rate = 0.003 if kind == "muon" else 0.02
            steps, tolerance = oracle.adam(starts[name], arrays, lr=rate, decoupled=True, **adam), 1e-12
        assert_close(weight, list(steps)[-1], tolerance, name)
