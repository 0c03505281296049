"""Images of a split with their masks, decoded once; and as training sees them, cut out and turned."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.masks import decode_mask, nearest
from data.signature import ImageInput, MaskOutput
from pipelines.tasks.segmentation.config import MasksData
from pipelines.tasks.supervised.draws import uniform
from pipelines.tasks.supervised.examples import Examples

Pixels = NDArray[np.uint8]
Masks = NDArray[np.uint8]


class Pairs(Examples):
    """`inputs` uint8 [images, H, W, C]; `masks` uint8 [images, H, W]: labels' places."""

    def __init__(self, prepared: Path, split: str, labels: dict[str, int], most: int | None = None) -> None:
        super().__init__(prepared, split, most)
        declared, output = self.signature.inputs[0], self.signature.outputs[0]
        assert isinstance(declared, ImageInput)
        assert isinstance(output, MaskOutput)
        self.output = output
        size = declared.height, declared.width
        masks = [nearest(decode_mask(raw, labels), *size) for raw in self.targets]
        self.masks: Masks = np.stack(masks) if masks else np.zeros((0, *size), np.uint8)


def augmented(
    images: Pixels, masks: Masks, data: MasksData, seed: int, epochs: NDArray[np.int64], examples: NDArray[np.int64]
) -> tuple[Pixels, Masks]:
    """Both, each pair cut, mirrored and turned alike; a function of (seed, epoch, example), whatever the batch.

    The order of what is drawn does not depend on what is switched on.
    """
    draws: Any = uniform(seed, epochs, examples, 5)
    found: list[tuple[Pixels, Masks]] = []
    for image, mask, (top, left, mirror, turn, light) in zip(images, masks, draws, strict=True):
        if side := data.crop:
            y, x = int(top * (mask.shape[0] - side + 1)), int(left * (mask.shape[1] - side + 1))
            image, mask = image[y : y + side, x : x + side], mask[y : y + side, x : x + side]
        if data.turn:
            quarters, flip = int(4 * turn), slice(None, None, -1 if mirror < 0.5 else 1)
            image, mask = np.rot90(image[:, flip], quarters), np.rot90(mask[:, flip], quarters)
        if data.jitter:
            factor = 1 + data.jitter * (2 * light - 1)
            image = (image * factor).round().clip(0, 255).astype(np.uint8)
        found.append((image, mask))
    return np.stack([image for image, _ in found]), np.stack([mask for _, mask in found])
