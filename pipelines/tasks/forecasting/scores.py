"""How good forecasts are, on the standard scale, where all channels count alike; steps without a value do not count."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def scores(forecasts: Numbers, targets: Numbers, quantiles: Sequence[float]) -> dict[str, float]:
    """Of forecasts [..., 1 + quantiles], the mean first, for targets [...]:

    mse and mae of the mean; quantile_loss, the mean pinball loss (Koenker and Bassett 1978); coverage, the share of
    values between the outer quantiles; coverage_error, how far the share below a quantile is from it, on average.
    """
    known = ~np.isnan(targets)
    given, wanted = forecasts[known].astype(np.float64), targets[known].astype(np.float64)
    errors = wanted - given[:, 0]
    found = {"mse": float(np.square(errors).mean()), "mae": float(np.abs(errors).mean())}
    if given.shape[1] > 1:
        levels, outer = np.asarray(quantiles), given[:, 1:]
        below = (wanted[:, None] <= outer).mean(0)
        inside = (wanted > outer[:, 0]) & (wanted <= outer[:, -1])
        found |= {
            "quantile_loss": float(pinball(outer, wanted[:, None], levels).mean()),
            "coverage": float(inside.mean()),
            "coverage_error": float(np.abs(below - levels).mean()),
        }
    return found


def pinball(given: Numbers, wanted: Numbers, levels: Numbers) -> Numbers:
    """The loss of each quantile: a miss above counts by the level, one below by the rest."""
    misses = wanted - given
    worst: Numbers = np.maximum(levels * misses, (levels - 1) * misses)
    return worst


def same_everywhere(forecasts: Numbers, quantiles: Sequence[float]) -> Numbers:
    """A forecast without any spread [...] → [..., 1 + quantiles]: what a naive one says of every quantile."""
    return np.repeat(forecasts[..., None], 1 + len(quantiles), axis=-1)
