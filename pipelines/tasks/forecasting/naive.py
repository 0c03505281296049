"""Forecasts that learn nothing, which a model must beat: the last value again, and the last season again."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def repeat_last(histories: Array, horizon: int) -> Array:
    """[B, context, channels] without NaN → [B, horizon, channels]."""
    return np.repeat(histories[:, -1:], horizon, axis=1)


def seasonal(histories: Array, horizon: int, season: int) -> Array:
    """The same, by the value one season (of so many steps, or the whole history) before."""
    season = min(season, histories.shape[1])
    return histories[:, -season:][:, np.arange(horizon) % season]
