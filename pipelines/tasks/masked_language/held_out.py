"""The validation and test splits as a model is judged on them: each token in one window, masks always the same."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from pipelines.tasks.masked_language.batches import Hidden, hidden
from pipelines.tasks.masked_language.masking import Masking
from pipelines.tasks.masked_language.windows import Windows

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

WINDOWS = 64  # in one forward pass


def width(recipe: "Recipe", tokenizer: Tokenizer) -> int:
    """Tokens of a window without [CLS] and [SEP]."""
    return int(recipe.model.context) - len(tokenizer.first) - len(tokenizer.last)


def held_out(recipe: "Recipe", tokenizer: Tokenizer, split: Shards) -> Iterator[Hidden]:
    """All of a split in batches, masked as the recipe's `evaluate` says."""
    config = recipe.evaluate
    masking = Masking(tokenizer, config.rate, whole_words=recipe.task.whole_words)
    windows = Windows(split, width(recipe, tokenizer))
    for at in range(0, len(windows), WINDOWS):
        numbers = range(at, min(at + WINDOWS, len(windows)))
        generators = [np.random.default_rng([config.seed, number]) for number in numbers]
        yield hidden([windows.tokens(number) for number in numbers], generators, masking, tokenizer)
