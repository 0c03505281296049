"""How sure a value of the test split is, and a difference of two models on the same rows, by the bootstrap.

Rows are drawn with replacement, as many as there are, again and again (Efron 1979); for a difference each row comes
with both models' answers (Efron and Tibshirani 1993, chapter 13; for test sets: Koehn 2004).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def interval(
    value: Callable[[Rows], float], rows: Rows, resamples: int, *, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """(low, high) of `value`, a function of rows' numbers that may repeat: the interval that holds the share
    `confidence` of its values over the samples. Samples where it is NaN do not count."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    draws = [value(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(resamples)]
    low, high = np.nanpercentile(draws, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)
