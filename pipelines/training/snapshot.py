"""Weights, buffers, averages and optimizer moments as one dictionary of whole tensors, and back; shards are gathered.

Buffers (BatchNorm's running statistics) are kept with the weights under the same prefix, unless their network registers
them with persistent=False. Averaged weights go with the buffers of the same step, which are not averaged.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from base.errors import MetrolineError
from pipelines.training.distributed import assign, gathered

WEIGHT, AVERAGE = "weight", "average"
"""Prefixes of names; the others are the optimizers' own keys, such as `exp_avg`."""


def persistent_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers that belong to a network's checkpoint, each once, as they are now: a module may replace its own."""
    found: dict[int, tuple[str, Tensor]] = {}
    kept = network.state_dict(keep_vars=True)
    for name, buffer in network.named_buffers(remove_duplicate=False):
        if name in kept:
            found.setdefault(id(buffer), (name, buffer))
    return dict(found.values())


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy trained weights and buffers, each once, into a network that has the very same; frozen ones it has already.
    Raises MetrolineError: other ones."""
    own: dict[str, Tensor] = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    own |= persistent_buffers(network)
    wrong = sorted(own.keys() ^ tensors.keys()) or [n for n in own if own[n].shape != tensors[n].shape]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise MetrolineError(
            f"the saved weights are not those of the model: they differ in {wrong[0]}{more}",
            hint="remove the training folder of this recipe below artifacts/ to train anew",
        )
    for name, tensor in own.items():
        assign(tensor, tensors[name])


@contextlib.contextmanager
def swapped(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it `weights` have the values of `others`, where there are any."""
    own = {name: weights[name].detach().clone() for name in others}
    _copy(others, weights)
    try:
        yield
    finally:
        _copy(own, weights)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)


def pack(
    weights: Mapping[str, Tensor], averages: Mapping[str, Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """`{"weight.norm.weight": ..., "exp_avg.norm.weight": ...}`; on all processes, since shards are gathered."""
    result = {f"{WEIGHT}.{name}": gathered(weight.detach()) for name, weight in weights.items()}
    result |= {f"{AVERAGE}.{name}": gathered(average) for name, average in averages.items()}
    names = {id(weight): name for name, weight in weights.items()}
    for optimizer in optimizers:
        for weight, values in optimizer.state.items():
            for key, value in values.items():
                result[f"{key}.{names[id(weight)]}"] = gathered(value)
    return result


def unpack(
    tensors: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    averages: Mapping[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    """Put what `pack` made back into place. Raises KeyError for a tensor that is not there."""
    for name, weight in weights.items():
        assign(weight, tensors[f"{WEIGHT}.{name}"])
    for name, average in averages.items():
        assign(average, tensors[f"{AVERAGE}.{name}"])
    names = {id(weight): name for name, weight in weights.items()}
    owners = {names[id(weight)]: (optimizer, weight) for optimizer in optimizers for weight in _of(optimizer)}
    for full, value in tensors.items():
        key, _, name = full.partition(".")
        if key in (WEIGHT, AVERAGE):
            continue
        optimizer, weight = owners[name]
        moment = torch.zeros_like(weight) if value.shape == weight.shape else torch.zeros_like(value)  # else a counter
        assign(moment, value)
        optimizer.state[weight][key] = moment


def _of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]
