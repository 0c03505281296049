"""GRPO's loss, of log-probabilities alone (Shao et al. 2024, arXiv:2402.03300, equations 3 and 4).

    A = (reward - mean of its group) / standard deviation of its group
    a token costs    -min(ρ A, clip(ρ, 1 - ε, 1 + ε) A) + β (π_ref / π - log(π_ref / π) - 1),   ρ = π / π_old

and an answer the mean of its tokens. As in the paper there is one update for each time that answers are drawn, so ρ is
1 but for rounding, and clipping guards against a drawing policy that is not the one that learns.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SAME = 1e-6
"""A group whose rewards differ by less says nothing."""


class Costs(NamedTuple):
    """What tokens cost, [...] each."""

    losses: Tensor
    slopes: Tensor
    """The derivatives of the losses by the log-probabilities."""
    clipped: Tensor
    """Bool: whose slope clipping has taken away."""
    kl: Tensor
    """Estimates of log(π / π_ref)'s mean; 0 without a reference."""


def advantages(rewards: Tensor) -> Tensor:
    """Rewards [prompts, group] → how much better than its group each answer is, in its standard deviations; 0 in a
    group whose answers are equally good."""
    off = rewards - rewards.mean(1, keepdim=True)
    spread = off.square().mean(1, keepdim=True).sqrt()
    return torch.where(spread > SAME, off / spread.clamp(min=SAME), 0.0)


def token_costs(
    now: Tensor, old: Tensor, reference: Tensor | None, advantage: Tensor, clip: float, beta: float
) -> Costs:
    """Log-probabilities of tokens now, when they were drawn and under the first weights, and their answers' advantages,
    [...] each. Gradients do not flow through it: `slopes` are they."""
    now = now.detach()
    ratio = (now - old).exp()
    free, bound = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    clipped = bound < free
    losses, slopes = -torch.minimum(free, bound), torch.where(clipped, 0.0, -free)
    if reference is None or not beta:
        return Costs(losses, slopes, clipped, torch.zeros_like(now))
    apart = reference - now
    kl = apart.exp() - apart - 1
    return Costs(losses + beta * kl, slopes + beta * (1 - apart.exp()), clipped, kl)
