"""Augmented training examples, by what they are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.supervised import augment_image, augment_sound
from pipelines.tasks.supervised.config import AudioData, ImagesData
from pipelines.tasks.supervised.read import Data


def augmented(
    inputs: NDArray[Any], data: Data, seed: int, epochs: NDArray[np.int64], examples: NDArray[np.int64]
) -> NDArray[Any]:
    """Inputs [B, ...] of these examples → as many, changed as the recipe says; rows and texts stay as they are."""
    if isinstance(data, ImagesData):
        return augment_image.augmented(inputs, data, seed, epochs, examples)
    if isinstance(data, AudioData):
        return augment_sound.augmented(inputs, data, seed, epochs, examples)
    return inputs
