"""Windows with hidden tokens as the arrays that the network is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.text.tokenizer import Tokenizer
from pipelines.tasks.masked_language.masking import Masking
from pipelines.tasks.supervised.examples import padded


@dataclass(frozen=True)
class Hidden:
    """Some windows in a batch."""

    tokens: NDArray[np.int64]
    """[B, S], each between [CLS] and [SEP], zeros behind."""
    hidden: NDArray[np.int64]
    """Flat places in `tokens` of those that count, [M]."""
    targets: NDArray[np.int64]
    """What stood there, [M]."""


def hidden(
    windows: Sequence[NDArray[np.int64]],
    generators: Sequence[np.random.Generator],
    masking: Masking,
    tokenizer: Tokenizer,
) -> Hidden:
    """Each window masked by its own generator, and between what the tokenizer puts around a text."""
    before, after = tokenizer.first, tokenizer.last
    rows, places, targets = [], [], []
    for window, generator in zip(windows, generators, strict=True):
        shown, chosen = masking.hide(window, generator)
        rows.append([*before, *shown.tolist(), *after])
        places.append(chosen + len(before))
        targets.append(window[chosen])
    tokens = padded(rows)
    flat = [row * tokens.shape[1] + each for row, each in enumerate(places)]
    return Hidden(tokens, np.concatenate(flat), np.concatenate(targets))
