"""The losses against the formulas, written out by hand, and their slopes against automatic differentiation."""

import math

import pytest
import torch

from pipelines.tasks.preference.loss import pair_losses

APART = [-30.0, -2.0, 0.0, 0.7, 55.0]


def by_hand(h: float, kind: str, beta: float, smoothing: float) -> float:
    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x)) if x > -30 else x

    if kind == "ipo":
        return (h - 1 / (2 * beta)) ** 2
    return -(1 - smoothing) * log_sigmoid(beta * h) - smoothing * log_sigmoid(-beta * h)


@pytest.mark.parametrize(("kind", "beta", "smoothing"), [
    ("sigmoid", 0.1, 0.0), ("sigmoid", 2.0, 0.0), ("sigmoid", 0.1, 0.3), ("ipo", 0.1, 0.0), ("ipo", 1.5, 0.0),
])  # fmt: skip
def test_losses_and_slopes_are_those_of_the_formulas(kind, beta, smoothing):
    found = pair_losses(torch.tensor(APART, dtype=torch.float64), kind, beta, smoothing)
    assert found.losses.tolist() == pytest.approx([by_hand(h, kind, beta, smoothing) for h in APART])
    assert found.margins.tolist() == pytest.approx([beta * h for h in APART])
    step = 1e-4
    numeric = [
        (by_hand(h + step, kind, beta, smoothing) - by_hand(h - step, kind, beta, smoothing)) / (2 * step)
        for h in APART
    ]
    assert found.slopes.tolist() == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_without_a_margin_the_loss_is_that_of_a_coin():
    assert float(pair_losses(torch.zeros(1), "sigmoid", 0.1).losses) == pytest.approx(math.log(2))
    assert float(pair_losses(torch.zeros(1), "ipo", 0.1).losses) == pytest.approx(25)
