"""What sections of a recipe must agree on: found when the recipe is read, not hours later by a stage that trips on it.

Each section's own bounds are in its own schema; what only one task knows is its task's to say. This module sees no
data: what only that can tell (how many documents there are, what a .jsonl line holds) is for the stages to say.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from base.errors import nearest
from pipelines.recipe import kinds
from pipelines.recipe.gates import Gate, known_metric
from pipelines.recipe.sections import OwnSource, RecipeSource

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def problems(recipe: "Recipe") -> Iterator[str]:
    """One line, without its end, for each place where two sections contradict each other; `section.key: ` opens it."""
    task = kinds.task(recipe.task.kind)
    source = recipe.pretrained.source
    if isinstance(source, OwnSource) and source.name == recipe.name:
        yield "pretrained.source.name: a recipe cannot begin with its own checkpoint or release"
    if recipe.train.adapter is not None and source is None:
        yield "train.adapter: it is trained on weights that are there, so it needs pretrained.source"
    if recipe.train.adapter is not None and recipe.pretrained.freeze:
        yield "pretrained.freeze: train.adapter freezes the weights of others by itself"
    yield from _adapter_alone(recipe)
    if (adapter := recipe.train.adapter) is not None and adapter.base == "nf4" and recipe.train.distributed == "fsdp":
        yield "train.adapter.base: weights in four bits are not sharded; write distributed: ddp"
    yield from recipe.model.problems()
    yield from task(recipe).problems()
    if not recipe.split.test:
        yield "split.test: evaluate needs a test split, so it must be above 0"
    for text in recipe.gates:
        gate = Gate.parse(text)
        for name in (gate.metric, gate.bound):
            if isinstance(name, str) and not known_metric(name, task.measured):
                yield f"gates: '{gate}': nothing measured is called {name}; {nearest(name, task.measured)}"


def _adapter_alone(recipe: "Recipe") -> Iterator[str]:
    """Of a recipe whose adapter is not merged, but served over the recipe that it began with."""
    if getattr(recipe.export, "merged", True):
        return
    adapter = recipe.train.adapter
    if adapter is None:
        yield "export.merged: there is no train.adapter that could be released alone"
    elif adapter.kind == "dora":
        yield "export.merged: a DoRA adapter scales whole products, so it is always merged"
    elif adapter.base == "nf4":
        yield "export.merged: an adapter of a base in four bits was trained on other weights than are served"
    if not isinstance(recipe.pretrained.source, RecipeSource):
        yield "export.merged: an adapter is served over another recipe, so pretrained.source must be {kind: recipe}"
    if recipe.export.adapters:
        yield "export.adapters: an adapter has no room for others; it is its base that is exported with room"
    if re.fullmatch("[0-9a-f]{12}", recipe.name):
        yield "name: BASE:NAME would read as a version of the base"
