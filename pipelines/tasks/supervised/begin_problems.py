"""What a recipe may say of the weights of others that training begins with."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.recipe import kinds

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def problems_of_first(recipe: "Recipe") -> Iterator[str]:
    """What a recipe's sections contradict each other in about pretrained weights."""
    kind, tokenizer = recipe.model.kind, getattr(recipe.data, "tokenizer", None)
    if recipe.pretrained.source is None:
        if tokenizer is not None and tokenizer.kind == "pretrained":
            yield "data.tokenizer.kind: pretrained needs pretrained.source"
        if recipe.pretrained.freeze:
            yield "pretrained.freeze: there is nothing to freeze without pretrained.source"
        return
    if not kinds.takes_first_weights(kind):
        yield f"pretrained.source: {kind} takes no weights of others (docs/extending.md: first)"
    if not recipe.train.model_fields_set:
        yield "train: nothing is learnt without keys, and the head of pretrained weights is new; give it steps"
    if tokenizer is not None and tokenizer.kind != "pretrained":
        yield f"data.tokenizer.kind: with pretrained.source it must be pretrained, not {tokenizer.kind}"
    if tokenizer is not None and recipe.data.lowercase:
        yield "data.lowercase: has no effect with a pretrained tokenizer, which does its own"
