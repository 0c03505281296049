"""Which tokens of a window are hidden, and what stands in their place. NumPy only.

A window's masks are a function of the generator that is given, which is made of (seed, epoch, example) alone: other
ones in every epoch (Liu et al. 2019, RoBERTa), and the same in whatever batch, process or resumed run.
"""

import numpy as np
from numpy.typing import NDArray

from data.text.tokenizer import Tokenizer
from data.text.wordpiece import INSIDE, NAMES

MASK, OTHER = 0.8, 0.1
"""Shares of the tokens that count that become [MASK], or another token; the rest stands as it is."""


class Masking:
    """Hides tokens of windows."""

    def __init__(self, tokenizer: Tokenizer, rate: float, *, whole_words: bool) -> None:
        self.rate, self.whole_words = rate, whole_words
        self.mask = tokenizer.special[NAMES["mask_token"]]
        pieces = [tokenizer.inner.id_to_token(number) or "" for number in range(tokenizer.vocab_size)]
        self.inside = np.array([piece.startswith(INSIDE) for piece in pieces])
        """bool [V]: the token goes on with the word of the token before."""
        self.special = np.array([number in tokenizer.special.values() for number in range(tokenizer.vocab_size)])
        self._ordinary = np.flatnonzero(~self.special)

    def hide(
        self, tokens: NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens [n] → what the network is shown [n], and the places that count, rising, [m].

        m is `rate` of all that are not special, at least 1; of whole words at most that, or one word.
        """
        places = np.flatnonzero(~self.special[tokens])
        if not len(places):
            return tokens, places
        units = np.cumsum(~self.inside[tokens] | self.special[tokens]) if self.whole_words else np.arange(len(tokens))
        _, unit, sizes = np.unique(units[places], return_inverse=True, return_counts=True)
        order = generator.permutation(len(sizes))
        budget = max(1, round(self.rate * len(places)))
        count = max(1, int((np.cumsum(sizes[order]) <= budget).sum()))
        chosen = places[np.isin(unit, order[:count])]
        dice, others = generator.random(len(chosen)), generator.choice(self._ordinary, len(chosen))
        shown = tokens.copy()
        shown[chosen] = np.where(dice < MASK, self.mask, np.where(dice < MASK + OTHER, others, tokens[chosen]))
        return shown, chosen
