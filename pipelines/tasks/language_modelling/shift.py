"""Where the windows of an epoch begin: each epoch cuts the corpus elsewhere, as a function of (seed, epoch)."""

import numpy as np


def epoch_shift(seed: int, epoch: int, length: int) -> int:
    """How many tokens the windows of an epoch are shifted by, in [0, length): each epoch cuts the corpus elsewhere."""
    if epoch == 0:
        return 0
    return int(np.random.Generator(np.random.Philox(key=[seed ^ 0x5EED, epoch])).integers(length))
