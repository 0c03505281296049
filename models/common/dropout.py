"""Dropout without hidden state: the mask is a function of a seed and of the place in the network.

Eager, torch.compile, activation checkpointing and a resumed run therefore drop the same elements, and neither the
global random generator nor a generator's state has to be saved.
"""

import torch
from torch import Tensor


@torch.library.custom_op("metroline::dropout_mask", mutates_args=())
def _mask(x: Tensor, seed: Tensor, site: int, rate: float) -> Tensor:
    generator = torch.Generator(device=x.device)
    generator.manual_seed((int(seed) * 1_000_003 + site) % 2**63)
    keep = torch.empty_like(x, memory_format=torch.contiguous_format)
    return keep.bernoulli_(1 - rate, generator=generator).div_(1 - rate)


@_mask.register_fake
def _(x: Tensor, seed: Tensor, site: int, rate: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def dropout(x: Tensor, rate: float, seed: Tensor | None, site: int) -> Tensor:
    """Zero elements of `x` with probability `rate` and scale the others by 1 / (1 - rate).

    `seed`: int64 [] on the CPU (so that reading it never waits for a GPU); None: no dropout. `site` tells the places
    of one network apart.
    """
    if seed is None or rate == 0:
        return x
    return x * _mask(x.detach(), seed, site, rate)
