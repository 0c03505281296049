"""Muon, as `torch.optim.Muon`, with equal-shaped matrices orthogonalised together.

Update rule, hyperparameters and state are PyTorch's (Jordan et al. 2024, kellerjordan.github.io/posts/muon). Four
things differ: the Newton-Schulz products of matrices of one shape are one batched product; they run in float32 on CPUs
without bf16 matrix units, where bf16 takes twice as long; sharded (FSDP2) matrices are gathered first; and kernels of a
convolution, [out, in, ...], are rows of a matrix [out, in · ...], as in github.com/KellerJordan/cifar10-airbench.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Polynomial = tuple[float, float, float]
"""a, b, c of a S + b S³ + c S⁵, what one iteration makes of the singular values S."""

JORDAN: tuple[Polynomial, ...] = 5 * ((3.4445, -4.7750, 2.0315),)
"""Those of `torch.optim.Muon`."""

_SAFETY = 1.01  # so that rounding does not take a singular value out of the range where the polynomials hold
POLAR_EXPRESS: tuple[Polynomial, ...] = tuple(
    (a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5)
    for a, b, c in (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    )
)
"""The best one for each iteration in turn, so that fewer do: algorithm 1 of Amsel et al. 2025, arXiv 2505.16932."""


class BatchedMuon(torch.optim.Optimizer):
    """`torch.optim.Muon` for many small matrices; `dtype` is that of the Newton-Schulz products, `polynomials` theirs.

    Raises ValueError: a weight that has fewer than two dimensions.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
        polynomials: Sequence[Polynomial] = JORDAN,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults)
        self.dtype, self.polynomials = dtype, polynomials
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            if weight.dim() < 2:
                raise ValueError(f"BatchedMuon: a weight of shape {tuple(weight.shape)} is no matrix")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient. A closure is not supported."""
        if closure is not None:
            raise ValueError("BatchedMuon: no closure")
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    shapes.setdefault(weight.shape, []).append(weight)
            for shape, weights in shapes.items():
                self._update(group, shape, weights)

    def _update(self, group: dict[str, Any], shape: torch.Size, weights: list[Tensor]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        buffers = []
        for weight in weights:
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            buffers.append(state["momentum_buffer"])
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = [gradient.clone() for gradient in gradients]  # in place: torch 2.11 shards no other _foreach_lerp
        torch._foreach_lerp_(updates, buffers, group["momentum"])  # Nesterov's
        # The factor makes updates of tall and wide matrices equally large in root mean square.
        rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1:].numel()))
        whole = torch.stack([gathered(update).flatten(1) for update in updates]).to(self.dtype)  # [N, rows, columns]
        orthogonal = newton_schulz(whole, self.polynomials).reshape(-1, *shape)
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        parts = [
            sharded_like(update.to(weight.dtype), weight) for update, weight in zip(orthogonal, weights, strict=True)
        ]
        torch._foreach_add_(weights, parts, alpha=-rate)


def newton_schulz(x: Tensor, polynomials: Sequence[Polynomial] = JORDAN) -> Tensor:
    """Roughly U Vᵀ of each matrix's singular value decomposition U S Vᵀ: [N, rows, columns] → the same shape.

    One iteration for each polynomial. By `JORDAN` the singular values end between about 0.7 and 1.2.
    """
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for a, b, c in polynomials:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def gathered(x: Tensor) -> Tensor:
    """A sharded tensor (DTensor) as a whole one on every process; others unchanged."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def sharded_like(x: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, equal on every process, sharded as `other` is; unchanged where `other` is not a DTensor."""
    if not hasattr(other, "full_tensor"):
        return x
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(other, DTensor)
    return distribute_tensor(x.contiguous(), other.device_mesh, other.placements, src_data_rank=None)
