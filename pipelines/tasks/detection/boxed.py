"""Images of a split with their boxes, decoded once; and as training sees them, cut out and mirrored."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.signature import BoxesOutput
from pipelines.tasks.detection.config import BoxesData
from pipelines.tasks.supervised.draws import uniform
from pipelines.tasks.supervised.examples import Examples

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float64]
"""[boxes, 5]: x1, y1, x2, y2 in fractions of the sides, the label's place."""
NONE = -1
"""The label of rows that fill up a batch."""


class Boxed(Examples):
    """`inputs` uint8 [images, H, W, C]; `boxes`: of each image."""

    def __init__(self, prepared: Path, split: str, most: int | None = None) -> None:
        super().__init__(prepared, split, most)
        output = self.signature.outputs[0]
        assert isinstance(output, BoxesOutput)
        self.output = output
        self.boxes: list[Boxes] = [np.asarray(each, np.float64).reshape(-1, 5) for each in self.targets]

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of an image as it was sent."""
        shape = self.decode(self.raw(number)[0]).shape
        return shape[0], shape[1]


def together(boxes: list[Boxes]) -> NDArray[np.float32]:
    """float32 [images, most boxes, 5], rows with the label NONE behind each image's own."""
    found = np.full((len(boxes), max([1, *map(len, boxes)]), 5), NONE, np.float32)
    for place, each in zip(found, boxes, strict=True):
        place[: len(each)] = each
    return found


def augmented(
    images: Pixels, boxes: list[Boxes], data: BoxesData, seed: int, epochs: NDArray[np.int64],
    examples: NDArray[np.int64],
) -> tuple[Pixels, list[Boxes]]:  # fmt: skip
    """Both, cut and mirrored alike; a function of (seed, epoch, example), whatever the batch. A box whose middle is cut
    off is gone. The order of what is drawn does not depend on what is switched on."""
    draws: Any = uniform(seed, epochs, examples, 6)
    found = [_one(image, each, data, row) for image, each, row in zip(images, boxes, draws, strict=True)]
    return np.stack([image for image, _ in found]), [each for _, each in found]


def _one(image: Pixels, boxes: Boxes, data: BoxesData, draws: NDArray[np.float64]) -> tuple[Pixels, Boxes]:
    large, left, top, mirror, turn, light = draws.tolist()
    boxes = boxes.copy()
    if data.zoom:
        side = 1 - data.zoom * large
        left, top = left * (1 - side), top * (1 - side)
        image = _cut(image, left, top, side)
        boxes[:, :4] = (boxes[:, :4] - [left, top, left, top]) / side
        middle = (boxes[:, :2] + boxes[:, 2:4]) / 2
        boxes = boxes[((middle >= 0) & (middle < 1)).all(1)]
        boxes[:, :4] = boxes[:, :4].clip(0, 1)
    if data.mirror and mirror < 0.5:
        image = image[:, ::-1]
        boxes[:, [0, 2]] = 1 - boxes[:, [2, 0]]
    if data.turn and turn < 0.5:
        image = image[::-1]
        boxes[:, [1, 3]] = 1 - boxes[:, [3, 1]]
    if data.jitter:
        image = (image * (1 + data.jitter * (2 * light - 1))).round().clip(0, 255).astype(np.uint8)
    return image, boxes


def _cut(image: Pixels, left: float, top: float, side: float) -> Pixels:
    """The part from there on, that much of both sides, in the image's own size."""
    from PIL import Image

    height, width, channels = image.shape
    window = (left * width, top * height, min((left + side) * width, width), min((top + side) * height, height))
    picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=window)).reshape(image.shape)
