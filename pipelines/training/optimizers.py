"""Which optimizer updates which weights, and how fast.

Matrices inside the network decay; norms, biases and embeddings do not, as is custom. With `muon` the hidden matrices
and convolutions go to Muon, and all else to AdamW with a rate of its own (`adam_lr`). sgd, rmsprop and adagrad are
PyTorch's, whose weight decay is added to the gradient.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.recipe.train_section import TrainConfig
from pipelines.training.lamb import Lamb
from pipelines.training.muon import POLAR_EXPRESS, BatchedMuon

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PEAK = "peak_lr"
"""Key of a parameter group: its rate before the schedule's factor."""


def split(network: nn.Module, outer: Collection[str]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Trainable weights as (hidden matrices, embeddings and head, norms and biases); a tied weight comes once.

    `outer`: names of weights that are not hidden although they are matrices (an output head). Weights of nn.Embedding
    and nn.EmbeddingBag need not be named.
    """
    embeddings = {id(module.weight) for module in network.modules() if isinstance(module, EMBEDDINGS)}
    hidden: list[Tensor] = []
    edge: list[Tensor] = []
    vectors: list[Tensor] = []
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        if id(weight) in embeddings or name in outer:
            edge.append(weight)
        elif weight.dim() < 2:
            vectors.append(weight)
        else:
            hidden.append(weight)
    return hidden, edge, vectors


def build(
    config: TrainConfig, network: nn.Module, outer: Collection[str], *, bf16_units: bool
) -> list[torch.optim.Optimizer]:
    """The optimizers of a run. `bf16_units`: whether bf16 matrix products are the fast ones on the network's device."""
    hidden, edge, vectors = split(network, outer)
    optimizers: list[torch.optim.Optimizer] = []
    rate = config.lr
    decaying, plain = hidden, edge + vectors
    if config.optimizer == "muon":
        convolutions = {id(module.weight) for module in network.modules() if isinstance(module, CONVOLUTIONS)}
        flat = [weight for weight in hidden if weight.dim() == 2 or id(weight) in convolutions]
        decaying = [weight for weight in hidden if weight.dim() != 2 and id(weight) not in convolutions]
        rate = config.adam_lr or config.lr
        if flat:
            dtype = torch.bfloat16 if bf16_units else torch.float32
            options: dict[str, Any] = {"momentum": config.momentum, "weight_decay": config.weight_decay}
            if config.polar_steps is not None:
                options["polynomials"] = POLAR_EXPRESS[: config.polar_steps]
            optimizers.append(BatchedMuon(flat, lr=config.lr, dtype=dtype, **options))
    groups = [
        {"params": decaying, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(_rest(config, groups, rate))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group[PEAK] = group["lr"]
    return optimizers


def _rest(config: TrainConfig, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    """The optimizer of what Muon does not take, which without `muon` is everything."""
    second = config.betas[1]
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=config.momentum)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate, alpha=second, eps=config.eps, momentum=config.momentum)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=rate, eps=config.eps)
        case "lamb":
            return Lamb(groups, lr=rate, betas=config.betas, eps=config.eps)
    fused = not any(_sharded(weight) for group in groups for weight in group["params"])
    return torch.optim.AdamW(groups, lr=rate, betas=config.betas, eps=config.eps, fused=fused)


def set_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's rate to its peak times the schedule's factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group[PEAK] * factor


def _sharded(weight: Tensor) -> bool:
    return hasattr(weight, "full_tensor")
