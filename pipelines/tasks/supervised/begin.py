"""The body of a network, and training that begins with the weights of others: how they enter it.

A model's module may define two functions. `first(body, files)` puts the weights in the folder `files` into the network
that `build` made, all but its new `head`. `shaped(config, files)`, where the files say what the network looks like,
gives the recipe's model with their keys.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError
from pipelines.recipe import kinds

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import nn


def module_of(kind: str) -> Any:
    """The module that makes the network of a kind of model."""
    return importlib.import_module(kinds.network_of(kind))


def body_of(model: "BaseModel", made_by: str, lacks: str, *given: Any) -> "nn.Module":
    """What a function of the model's module makes of the model and what it is given. Raises MetrolineError: the module
    has no such function, so that a model of its kind `lacks` what the task wants; a model that cannot take this."""
    module = module_of(model.kind)  # type: ignore[attr-defined]
    if not hasattr(module, made_by):
        raise MetrolineError(f"model.kind: {model.kind} {lacks}")  # type: ignore[attr-defined]
    try:
        made: nn.Module = getattr(module, made_by)(model, *given)
    except ValueError as error:
        raise MetrolineError(" ".join(str(error).split())) from None
    return made


def shaped(model: "BaseModel", first: Path | None) -> "BaseModel":
    """The recipe's model with the keys that the fetched files give it. Raises MetrolineError: nothing fetched."""
    if first is None:
        return model
    if not first.is_dir():
        raise MetrolineError(f"{first} is missing", hint="metroline stage fetch RECIPE")
    module = module_of(model.kind)  # type: ignore[attr-defined]
    found: BaseModel = module.shaped(model, first) if hasattr(module, "shaped") else model
    return found


def begin(body: "nn.Module", model: "BaseModel", first: Path) -> None:
    """Put the fetched weights into a model's network."""
    module_of(model.kind).first(body, first)  # type: ignore[attr-defined]
