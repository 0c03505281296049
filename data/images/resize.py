"""A resize as two matrix products: rows · image · columns. NumPy only, so that the graph and its check share it."""

import numpy as np
import numpy.typing as npt


def resize_weights(size: int, to: int) -> npt.NDArray[np.float32]:
    """float32 [to, size]: each row the weights of the pixels for one pixel of the result; they add up to 1.

    Antialiased bilinear: what torch.nn.functional.interpolate does with mode="bilinear", antialias=True and
    align_corners=False, and Pillow's BILINEAR: a triangle as wide as the reduction, cut off at the border.
    """
    if size < 1 or to < 1:
        raise ValueError(f"no resize of {size} pixels to {to}")
    scale = size / to
    reach = max(scale, 1.0)
    centre = (np.arange(to) + 0.5) * scale
    pixel = np.arange(size) + 0.5
    weights = np.clip(1 - np.abs(pixel - centre[:, None]) / reach, 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
