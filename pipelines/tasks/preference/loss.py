"""Losses of preference tuning, of log-probabilities alone: what a pair of answers costs, and in which direction.

- `sigmoid`: DPO, -log σ(β h) (Rafailov et al. 2023, arXiv:2305.18290, equation 7); with label smoothing ε, that share
  of the pairs is taken to be the wrong way round (Mitchell 2023, "conservative DPO").
- `ipo`: (h - 1 / 2β)² (Azar et al. 2023, arXiv:2310.12036, equation 17, β for their τ), h of means per token, as TRL
  has it on its authors' word.

h = (log π(chosen) - log π_ref(chosen)) - (log π(rejected) - log π_ref(rejected)), π_ref the first weights.
"""

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

Kind = Literal["sigmoid", "ipo"]


class Pairs(NamedTuple):
    """What pairs of answers cost, [pairs] each."""

    losses: Tensor
    margins: Tensor
    """β h: how much more the model has come to prefer the chosen answer, its reward above that of the rejected one."""
    slopes: Tensor
    """The derivatives of the losses by h."""


def pair_losses(apart: Tensor, kind: Kind, beta: float, smoothing: float = 0.0) -> Pairs:
    """`apart`: h, float [pairs]. Gradients do not flow through it: `slopes` are they."""
    apart = apart.detach()
    margins = beta * apart
    if kind == "ipo":
        off = apart - 1 / (2 * beta)
        return Pairs(off.square(), margins, 2 * off)
    losses = -(1 - smoothing) * F.logsigmoid(margins) - smoothing * F.logsigmoid(-margins)
    slopes = beta * (smoothing * margins.sigmoid() - (1 - smoothing) * (-margins).sigmoid())
    return Pairs(losses, margins, slopes)
