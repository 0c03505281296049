"""LAMB: Adam whose step is scaled, layer by layer, to the norm of the weights (You et al. 2020, arXiv:1904.00962)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """Algorithm 2 of the paper, with bias correction and decoupled weight decay inside the scaled update.

    A weight or update of norm 0, and parameters of one dimension (norms, biases), take the plain Adam step, as the
    authors' code does. `lr` is per unit of weight norm, so it is larger than Adam's (0.002 to 0.02).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. A closure is not supported."""
        if closure is not None:
            raise ValueError("Lamb: no closure")
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float32)
                    state["exp_avg"] = torch.zeros_like(weight)
                    state["exp_avg_sq"] = torch.zeros_like(weight)
                state["step"] += 1
                count = int(state["step"])
                mean, square = state["exp_avg"], state["exp_avg_sq"]
                mean.lerp_(weight.grad, 1 - beta1)
                square.mul_(beta2).addcmul_(weight.grad, weight.grad, value=1 - beta2)
                root = (square / (1 - beta2**count)).sqrt_().add_(group["eps"])
                update = (mean / (1 - beta1**count)).div_(root)
                if group["weight_decay"]:
                    update.add_(weight, alpha=group["weight_decay"])
                trust = trust_ratio(weight, update) if weight.dim() > 1 else 1.0
                weight.sub_(update * (group["lr"] * trust))


def trust_ratio(weight: Tensor, update: Tensor) -> Tensor:
    """|weight| / |update| over the whole matrix, float32 [], 1 where either is 0; sharded tensors are summed up."""
    norms = [x.norm() for x in (weight, update)]
    weight_norm, update_norm = (x.full_tensor() if hasattr(x, "full_tensor") else x for x in norms)
    return torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
