"""The floor: things told from the ground by colour alone, as one would without a network.

Each pixel is given to the label, or to the ground, whose mean colour on train is nearest; what hangs together is a
thing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.boxes import Rows
from pipelines.tasks.detection.boxed import Boxed

SMALLEST = 0.25
"""Smallest area of a thing, of the smallest twentieth of its label's boxes."""


def blobs(train: Boxed, test: Boxed) -> list[Rows]:
    """Rows [things, 6] of each test image; the score is the share of the box that has the colour."""
    from scipy import ndimage

    labels = len(test.output.labels)
    colours, ground = _colours(train, labels)
    areas = [[float(np.prod(box[2:4] - box[:2])) for boxes in train.boxes for box in boxes if box[4] == label]
             for label in range(labels)]  # fmt: skip
    least = [SMALLEST * float(np.quantile(some, 0.05)) if some else 1.0 for some in areas]
    found = []
    for image in test.inputs:
        distance = np.stack([np.square(image - colour).sum(2) for colour in (*colours, ground)])
        nearest, rows = distance.argmin(0), list[list[float]]()
        height, width = nearest.shape
        for label in range(labels):
            parts, _ = ndimage.label(nearest == label)
            for number, (vertical, across) in enumerate(ndimage.find_objects(parts), 1):
                x1, x2, y1, y2 = (
                    across.start / width,
                    across.stop / width,
                    vertical.start / height,
                    vertical.stop / height,
                )
                if (x2 - x1) * (y2 - y1) >= least[label]:
                    share = float((parts[vertical, across] == number).mean())
                    rows.append([x1, y1, x2, y2, share, float(label)])
        kept = sorted(rows, key=lambda row: -row[4])[: test.output.shape[0]]
        found.append(np.array(kept, np.float64).reshape(-1, 6))
    return found


def _colours(train: Boxed, labels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean colours of the inner halves of each label's boxes [labels, C], and of what is in no box [C]."""
    sums, counts = np.zeros((labels + 1, train.inputs.shape[3])), np.full((labels + 1, 1), 1e-9)
    for image, boxes in zip(train.inputs, train.boxes, strict=True):
        height, width = image.shape[:2]
        free = np.ones((height, width), bool)
        for x1, y1, x2, y2, label in boxes:
            free[int(y1 * height) : int(np.ceil(y2 * height)), int(x1 * width) : int(np.ceil(x2 * width))] = False
            inner = [int((low + (high - low) * part) * side) for low, high, side in ((y1, y2, height), (x1, x2, width))
                     for part in (0.25, 0.75)]  # fmt: skip
            pixels = image[inner[0] : inner[1] + 1, inner[2] : inner[3] + 1].reshape(-1, image.shape[2])
            sums[int(label)] += pixels.sum(0)
            counts[int(label)] += len(pixels)
        sums[labels] += image[free].sum(0)
        counts[labels] += free.sum()
    means = sums / counts
    return means[:labels], means[labels]
