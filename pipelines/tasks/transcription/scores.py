"""How good texts are: words and characters that are wrong, by edit distance (Levenshtein 1966)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.tasks.interface import Primary

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def primary(recipe: "Recipe") -> Primary:
    """The value that says how good a model is."""
    name = recipe.evaluate.primary
    return Primary(f"test.{name}", "lower", f"baselines.floor_{name}")


def edits(given: Sequence[str], wanted: Sequence[str]) -> int:
    """Fewest parts that must be put in, left out or replaced to make one of the other."""
    row = list(range(len(wanted) + 1))
    for at, part in enumerate(given, 1):
        before, row[0] = row[0], at
        for place, other in enumerate(wanted, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (part != other))
    return row[-1]


def scores(given: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """wer, cer: edits of words and of characters over how many of them are said, all texts together; wrong: the share
    of texts that are not right to the letter."""
    pairs = list(zip(given, wanted, strict=True))
    words = sum(edits(one.split(), other.split()) for one, other in pairs)
    characters = sum(edits(one, other) for one, other in pairs)
    return {
        "wer": words / max(1, sum(len(text.split()) for text in wanted)),
        "cer": characters / max(1, sum(map(len, wanted))),
        "wrong": sum(one != other for one, other in pairs) / max(1, len(pairs)),
    }


def commonest(texts: Sequence[str], most: int = 200) -> str:
    """The floor: the one text that, said of every clip, has the fewest wrong words on train (on `most` of them)."""
    some = [*texts][:most]
    return min(sorted(set(some)), key=lambda text: scores([text] * len(some), some)["wer"])
