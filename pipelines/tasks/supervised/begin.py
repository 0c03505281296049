"""Training that begins with the weights of others: what a recipe may say of them, and how they enter the network.

A model's module may define two functions. `first(body, files)` puts the weights in the folder `files` into the network
that `build` made, all but its new `head`. `shaped(config, files)`, where the files say what the network looks like,
gives the recipe's model with their keys.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError
from pipelines.recipe import kinds

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import nn

    from pipelines.recipe.schema import Recipe


def module_of(kind: str) -> Any:
    """The module of a kind of model."""
    return importlib.import_module(kinds.module_of(kinds.MODELS, kind))


def problems_of_first(recipe: "Recipe") -> Iterator[str]:
    """What a recipe's sections contradict each other in about pretrained weights."""
    kind, tokenizer = recipe.model.kind, getattr(recipe.data, "tokenizer", None)
    if recipe.pretrained.source is None:
        if tokenizer is not None and tokenizer.kind == "pretrained":
            yield "data.tokenizer.kind: pretrained needs pretrained.source"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: there is nothing to freeze without pretrained.source"
        return
    if not hasattr(module_of(kind), "first"):
        yield f"pretrained.source: {kind} takes no weights of others (docs/extending.md: first)"
    if not recipe.train.model_fields_set:
        yield "train: nothing is learnt without keys, and the head of pretrained weights is new; give it steps"
    if tokenizer is not None and tokenizer.kind != "pretrained":
        yield f"data.tokenizer.kind: with pretrained.source it must be pretrained, not {tokenizer.kind}"
    if tokenizer is not None and recipe.data.lowercase:
        yield "data.lowercase: has no effect with a pretrained tokenizer, which does its own"


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
