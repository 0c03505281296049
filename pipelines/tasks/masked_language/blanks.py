"""Texts with one token to be found: what the endpoint is asked, made of a split by hiding one whole word each.

Words of several pieces stay: no single answer could be right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base.errors import BadItem, MetrolineError
from data.codecs import decode
from data.signature import LabelsOutput, Signature, TextInput
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from data.text.wordpiece import NAMES
from pipelines.tasks.masked_language.masking import Masking
from pipelines.tasks.masked_language.windows import Windows
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

SPARE = 8
"""Tokens by which these texts are shorter than the longest, as their own text may come back as a few more."""
TOP = 5
"""Answers that a request gets that does not say how many."""


@dataclass(frozen=True)
class Blank:
    """One text, what stood in its blank, and the tokens that serving makes of it."""

    text: str
    target: int
    tokens: NDArray[np.int64]


def signature(context: int, prepared: Path) -> Signature:
    """A text with one [MASK] in, the likeliest tokens out; `context` counts [CLS] and [SEP] too."""
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    length = context - len(tokenizer.first) - len(tokenizer.last)
    labels = tuple(str(tokenizer.inner.id_to_token(number)) for number in range(tokenizer.vocab_size))
    return Signature(
        task="fill-mask",
        inputs=(TextInput(name="text", shape=(-1,), length=length, mask=NAMES["mask_token"]),),
        outputs=(LabelsOutput(name="token", shape=(len(labels),), labels=labels, top=TOP),),
    )


class Blanks:
    """Texts of one split, at most `most` of them spread over it."""

    def __init__(self, recipe: "Recipe", prepared: Path, split: str, most: int) -> None:
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json")
        self.signature = signature(recipe.model.context, prepared)
        (declared,) = self.signature.inputs
        assert isinstance(declared, TextInput)
        self._declared, self._seed = declared, recipe.evaluate.seed
        self._masking = Masking(self.tokenizer, recipe.evaluate.rate, whole_words=True)
        self._windows = Windows(Shards(prepared, split), max(1, declared.length - SPARE))
        self.items = [found for number in some(len(self._windows), most).tolist() if (found := self._blank(number))]
        if not self.items:
            raise MetrolineError(f"no text of {split} has a word that is one token", hint="take a larger vocabulary")

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, most: int | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """At most `most` of them, one a batch, as serving makes them without padding."""
        for number in some(len(self), most).tolist():
            yield {self._declared.name: self.items[number].tokens[None]}

    def decode(self, raw: bytes) -> NDArray[np.int64]:
        """A text as serving decodes it."""
        return decode(self._declared, raw, self.tokenizer)

    def _blank(self, number: int) -> Blank | None:
        tokens, inside = self._windows.tokens(number), self._masking.inside
        begins = ~inside[tokens] & ~self._masking.special[tokens]
        whole = np.flatnonzero(begins & ~np.append(inside[tokens][1:], False))
        if not len(whole):
            return None
        place = int(np.random.default_rng([self._seed, number]).choice(whole))
        before, behind = (self.tokenizer.decode(part.tolist()) for part in (tokens[:place], tokens[place + 1 :]))
        text = f"{before} {self._declared.mask} {behind}".strip()
        try:
            return Blank(text, int(tokens[place]), self.decode(text.encode()))
        except BadItem:  # its own text holds a [MASK], or comes back as too many tokens
            return None


def asked(recipe: "Recipe", prepared: Path) -> list[tuple[str, NDArray[np.int64]]]:
    """The recipe's own examples and their tokens. Raises MetrolineError: one that serving would refuse."""
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    (declared,) = signature(recipe.model.context, prepared).inputs
    try:
        return [(text, decode(declared, text, tokenizer)) for text in recipe.evaluate.examples]
    except BadItem as error:
        raise MetrolineError(f"evaluate.examples: {error}", hint=error.hint) from None
