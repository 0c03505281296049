"""The network of a run as the trainer has it: whole, or frozen with the adapters of `train.adapter`.

What an adapter is, is models.adapters' business; here it meets the recipe, the checkpoint and the promise that nothing
else of the network changes.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from models import adapter_files
from models.adapters import Form, adapted, attach, hidden_numbers, merge, own, unused
from pipelines.paths import Paths
from pipelines.recipe.sections import RecipeSource
from pipelines.tasks.interface import Published
from pipelines.training.first import ADAPTER

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pipelines.recipe.schema import Recipe
    from pipelines.recipe.train_section import TrainConfig
    from pipelines.tasks.interface import Learner


def network_of(task: "Learner", config: "TrainConfig", generator: "torch.Generator") -> "nn.Module":
    """The network with its first weights, drawn from `generator` where they are drawn, and its adapters if it has any.

    Raises MetrolineError: adapters that do not go with the network.
    """
    network, adapter = task.network(generator), config.adapter
    if adapter is not None:
        form = Form(
            adapter.rank, adapter.alpha, adapter.kind == "rslora", adapter.kind == "dora", adapter.base == "nf4"
        )
        try:
            attach(network, form, adapter.targets, generator, task.outer)
            for layer in (*adapted(network), *fresh(task)):  # now, and not when the training is done
                published(task)(layer)
        except MetrolineError as error:
            raise MetrolineError(f"train.adapter: {error}") from None
        for layer in fresh(task):
            network.get_submodule(layer).requires_grad_(True)
    return network


def fresh(task: "Learner") -> tuple[str, ...]:
    """Names of layers that did not come with the first weights, such as a new head: these are trained whole."""
    found: tuple[str, ...] = getattr(task, "fresh", ())
    return found


def added(network: "nn.Module") -> int:
    """How many numbers more than the merged network the adapted one has: the adapters', less those that are packed."""
    held = sum(weight.numel() for layer in adapted(network).values() for weight in own(layer).values())
    return held - hidden_numbers(network)


def check_used(network: "nn.Module") -> None:
    """After the first backward pass. Raises MetrolineError: adapters that no gradient reaches change nothing."""
    if idle := unused(network):
        raise MetrolineError(
            f"train.adapter: the network does not call {idle[0]}, so an adapter on it has no effect",
            hint="take it out of train.adapter.targets",
        )


def digest(tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 over names and bytes of tensors."""
    import torch

    value = hashlib.sha256()
    for name in sorted(tensors):
        value.update(name.encode() + b"\0")
        value.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return value.hexdigest()


def save(task: "Learner", recipe: "Recipe", network: "nn.Module", folder: Path, base: Mapping[str, str]) -> None:
    """Write the adapters of a network as PEFT's files, then the whole with them merged as the task writes it.

    `base`: the files of the first weights and their SHA-256. The network is a plain one afterwards.
    """
    if recipe.train.adapter is not None:
        adapter_files.write(
            network,
            folder / ADAPTER,
            base=_address(recipe),
            base_sha256=base_sha256(base),
            published=published(task),
            whole=fresh(task),
        )
        merge(network)
    task.save(network, folder)


def published(task: "Learner") -> Callable[[str], str]:
    """A layer's name in the network → the one that others know."""
    return task.published if isinstance(task, Published) else str


def base_sha256(files: Mapping[str, str]) -> str:
    """Of the weights below an adapter: the SHA-256 of their file; of several, that of what `sha256sum` prints."""
    if len(files) == 1:
        return next(iter(files.values()))
    listed = "".join(f"{value}  {name}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


def _address(recipe: "Recipe") -> str:
    """Where the weights below the adapter are, in the words of PEFT: a folder, or a name that says it."""
    source = recipe.pretrained.source
    if isinstance(source, RecipeSource):
        return Paths(source.name).checkpoint.as_posix()
    for key in ("repository", "package", "path"):
        if isinstance(found := getattr(source, key, None), str):
            return found
    return recipe.name
