"""What sections of a recipe must agree on: found when the recipe is read, not hours later by a stage that trips on it.

Each section's own bounds are in its own schema. This module sees no data: what only the text can tell (how many
documents there are, what a .jsonl line holds) is for the stages to say.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from base.errors import nearest
from data.text.documents import DocumentsConfig
from pipelines.recipe.gates import MEASURED, Gate, known_metric

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def problems(recipe: "Recipe") -> Iterator[str]:
    """One line, without its end, for each place where two sections contradict each other; `section.key: ` opens it."""
    model, train = recipe.model, recipe.train
    if model.head_dim % model.head_multiple:
        why = "with RoPE" if model.positions == "rope" else "with learned positions"
        yield (
            f"model.head_dim: {model.head_dim} is not a multiple of {model.head_multiple}, which ONNX Runtime's "
            f"attention needs {why}; change width or heads ({model.width} / {model.heads}), or set head_dim"
        )
    if train.sequence > model.context:
        yield f"train.sequence: {train.sequence} is longer than model.context ({model.context})"
    yield from _pretrained(recipe)
    if not recipe.split.test:
        yield "split.test: evaluate needs a test split, so it must be above 0"
    if (group := recipe.evaluate.group_by) is not None and group not in (noted := meta_names(recipe.documents)):
        yield f"evaluate.group_by: documents have no meta {group!r}; {nearest(group, noted)}"
    for text in recipe.gates:
        gate = Gate.parse(text)
        for name in (gate.metric, gate.bound):
            if isinstance(name, str) and not known_metric(name):
                yield f"gates: '{gate}': nothing measured is called {name}; {nearest(name, MEASURED)}"


def _pretrained(recipe: "Recipe") -> Iterator[str]:
    """Shape and tokenizer come along with pretrained weights."""
    if recipe.pretrained.source is None:
        if recipe.tokenizer.kind == "pretrained":
            yield "tokenizer.kind: pretrained needs pretrained.source"
        return
    if recipe.tokenizer.kind != "pretrained":
        yield f"tokenizer.kind: with pretrained.source it must be pretrained, not {recipe.tokenizer.kind}"
    for name in ("model", "train"):
        if keys := sorted(getattr(recipe, name).model_fields_set):
            yield f"{name}.{keys[0]}: has no effect with pretrained.source, so {name} must be {{}}"


def meta_names(documents: DocumentsConfig) -> list[str]:
    """The names that `documents` puts into the meta of a document."""
    groups = re.compile(documents.meta_pattern).groupindex if documents.meta_pattern else {}
    return sorted({*documents.meta_fields, *groups, *documents.bins})
