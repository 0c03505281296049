"""Augmented training images: each a function of (seed, epoch, example), whatever batch or process it falls into."""

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.supervised.config import ImagesData
from pipelines.tasks.supervised.draws import uniform


def augmented(
    images: NDArray[np.uint8], data: ImagesData, seed: int, epochs: NDArray[np.int64], examples: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Images [B, H, W, C] of these examples → as many, flipped, moved (zeros come in), brightened, with a square blank.

    The order of what is drawn does not depend on what is switched on.
    """
    if not (data.flip or data.shift or data.cutout or data.jitter):
        return images
    count, height, width, _ = images.shape
    draws = uniform(seed, epochs, examples, 6)  # [B, 6] in [0, 1)
    rows, columns = np.arange(height)[None], np.arange(width)[None]
    if data.flip:
        columns = np.where(draws[:, :1] < 0.5, width - 1 - columns, columns)
    down, right = (((2 * data.shift + 1) * draws[:, 1:3]).astype(np.int64) - data.shift).T
    rows, columns = np.broadcast_to(rows + down[:, None], (count, height)), columns + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    if data.cutout:
        top, left = (draws[:, 3:5] * [height, width]).astype(np.int64).T - data.cutout // 2
        at_row = (np.arange(height) >= top[:, None]) & (np.arange(height) < top[:, None] + data.cutout)
        at_column = (np.arange(width) >= left[:, None]) & (np.arange(width) < left[:, None] + data.cutout)
        inside &= ~(at_row[:, :, None] & at_column[:, None, :])
    moved = images[
        np.arange(count)[:, None, None], rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]
    ]
    factor = 1 + data.jitter * (2 * draws[:, 5] - 1)
    changed = np.where(inside[..., None], moved, 0) * factor[:, None, None, None]
    return changed.round().clip(0, 255).astype(np.uint8)
