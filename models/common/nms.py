"""Non-maximum suppression: of boxes that overlap, the one with the best score stays.

In PyTorch it is the loop below; an exported graph has ONNX's NonMaxSuppression in its place
(pipelines/exporting/onnx/translations.py), which computes the same.
"""

import torch
from torch import Tensor


@torch.library.custom_op("metroline::nms", mutates_args=())
def nms(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
    """Corners float32 [B, N, 4] and scores [B, labels, N] → float32 [B, labels, N], 1 where a box stays.

    By label and image: boxes are taken from the best score down, those over `least` alone, `most` at most; one that
    overlaps an earlier one by more than `iou` (intersection over union) is left out.
    """
    kept = torch.zeros_like(scores)
    for image in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            found = scores[image, label]
            order = found.argsort(descending=True, stable=True)
            order = order[found[order] > least]
            kept[image, label, _greedy(boxes[image, order], order, iou, most)] = 1.0
    return kept


@nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
    return torch.empty_like(scores)


def _greedy(boxes: Tensor, order: Tensor, iou: float, most: int) -> Tensor:
    """Of the places `order`, best first, those that stay."""
    overlap, stay = box_iou(boxes, boxes), list[int]()
    free = torch.ones(len(order), dtype=torch.bool)
    for place in range(len(order)):
        if free[place] and len(stay) < most:
            stay.append(place)
            free &= overlap[place] <= iou
    return order[stay]


def box_iou(one: Tensor, other: Tensor) -> Tensor:
    """Corners [n, 4] and [m, 4] → intersection over union [n, m]."""
    low, high = torch.maximum(one[:, None, :2], other[None, :, :2]), torch.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clamp(min=0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).clamp(min=0).prod(1) for each in (one, other)]
    return both / (areas[0][:, None] + areas[1][None] - both).clamp(min=1e-12)
