"""Which windows of the corpus a step sees: a shuffle that is a function of (seed, position) and keeps no state.

Every epoch visits each window once, in an order of its own, so a resumed run takes up exactly where it stopped, and
neither redraws nor repeats anything. What a window holds is the task's business.
"""

import numpy as np
from numpy.typing import NDArray


class Order:
    """An endless sequence of window numbers below `windows`, one permutation after another."""

    def __init__(self, windows: int, seed: int) -> None:
        if windows < 1:
            raise ValueError(f"Order: needs at least one window, not {windows}")
        self.windows, self.seed = windows, seed
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.zeros(0, np.int64)

    def take(self, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(epoch, window), int64 [count] each, for positions `first` to `first + count` of the sequence."""
        epochs, places = np.divmod(np.arange(first, first + count), self.windows)
        chosen = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self.permutation(int(epoch))[places[here]]
        return epochs, chosen

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """The order of one epoch, int64 [windows]; the last one asked for is kept."""
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            self._permutation, self._epoch = generator.permutation(self.windows), epoch
        return self._permutation
