"""What sections of a recipe must agree on: found when the recipe is read, not hours later by a stage that trips on it.

Each section's own bounds are in its own schema; what only one task knows is its task's to say. This module sees no
data: what only that can tell (how many documents there are, what a .jsonl line holds) is for the stages to say.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from base.errors import nearest
from pipelines.recipe import kinds
from pipelines.recipe.gates import Gate, known_metric
from pipelines.recipe.sections import OwnSource

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
    yield from recipe.model.problems()
    yield from task(recipe).problems()
    if not recipe.split.test:
        yield "split.test: evaluate needs a test split, so it must be above 0"
    for text in recipe.gates:
        gate = Gate.parse(text)
        for name in (gate.metric, gate.bound):
            if isinstance(name, str) and not known_metric(name, task.measured):
                yield f"gates: '{gate}': nothing measured is called {name}; {nearest(name, task.measured)}"
