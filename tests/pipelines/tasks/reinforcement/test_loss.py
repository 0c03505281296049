"""GRPO's advantages and loss, against plain code with autograd."""

import pytest
import torch

from pipelines.tasks.reinforcement.loss import advantages, token_costs


def test_advantages_are_within_a_group_and_nothing_where_all_are_alike():
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]))
    assert found[0].tolist() == [1.0, -1.0, -1.0, 1.0]
    assert found[1].tolist() == [0.0] * 4
    assert found[2].mean() == pytest.approx(0, abs=1e-6)
    assert float(found[2].square().mean()) == pytest.approx(1)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_costs_and_slopes_are_those_of_the_paper(beta):
    """Ratios on both sides of both bounds, advantages of both signs."""
    generator = torch.Generator().manual_seed(0)
    now = torch.randn(200, generator=generator).requires_grad_()
    old, reference = (now.detach() + 0.5 * torch.randn(200, generator=generator) for _ in range(2))
    advantage = torch.randn(200, generator=generator)
    ratio = (now - old).exp()
    wanted = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    kl = (reference - now).exp() - (reference - now) - 1
    wanted = wanted + beta * kl
    (slopes,) = torch.autograd.grad(wanted.sum(), now)
    found = token_costs(now, old, reference, advantage, 0.2, beta)
    torch.testing.assert_close(found.losses, wanted.detach())
    torch.testing.assert_close(found.slopes, slopes)
    assert 20 < int(found.clipped.sum()) < 180
    assert not found.slopes.requires_grad


def test_without_a_reference_leaving_costs_nothing():
    now = torch.tensor([-1.0, -2.0])
    found = token_costs(now, now, None, torch.tensor([1.0, -1.0]), 0.2, 0.5)
    assert found.losses.tolist() == [-1.0, 1.0]
    assert found.slopes.tolist() == [-1.0, 1.0]
    assert found.kl.tolist() == [0.0, 0.0]
