"""The loss of a detector: which cells are to find a box, how sure they must be, how well it must fit."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.tasks.detection.network import Detector

RADIUS = 1.5
"""Cells to each side of a box's middle whose own middle is to find it (FCOS's centre sampling)."""
FOCUS = 2.0
"""Exponent of the quality focal loss (Li et al. 2020, arXiv:2006.04388)."""
FIT = 2.0
"""Weight of the boxes' fit."""


class Loss(nn.Module):
    """Pixels and boxes → the sum over images of the loss of its cells, over the number of cells that are to find a box.

    The score of a cell learns how well its own box fits (0: there is none); the box learns by generalised intersection
    over union (Rezatofighi et al. 2019, arXiv:1902.09630).
    """

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, targets: Tensor, seed: Tensor | None = None) -> Tensor:
        """`targets`: [B, boxes, 5] in fractions of the sides; rows with a negative label are none."""
        logits, boxes = self.network(inputs, seed if self.training else None)
        which, found = assigned(
            targets, self.network.middles / self.network.size, self.network.cell / self.network.size
        )
        wanted = targets.gather(1, which[..., None].expand(-1, -1, 5))  # [B, N, 5]
        overlap, fit = overlaps(boxes, wanted[..., :4])
        labels = functional.one_hot(wanted[..., 4].clamp(min=0).long(), logits.shape[1]).transpose(1, 2)
        quality = labels * (found * overlap.detach().clamp(0, 1))[:, None]  # [B, labels, N]
        scores = logits.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
        sure = (entropy * (quality - scores.detach()).abs() ** FOCUS).sum((1, 2))
        count = found.sum(1).clamp(min=1)
        return ((sure + FIT * ((1 - fit) * found).sum(1)) / count).sum()


def assigned(targets: Tensor, middles: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Which box each place is to find int64 [B, N], and whether it is float [B, N]: one that it lies in, near the
    middle; of several the smallest. `middles`: [N, 2], `cell`: [2], in fractions of the sides."""
    low, high, there = targets[:, :, None, :2], targets[:, :, None, 2:4], targets[:, :, None, 4] >= 0
    near = ((middles - (low + high) / 2).abs() < RADIUS * cell).all(3)
    inside = ((middles > low) & (middles < high)).all(3)
    area = (high - low).prod(3).expand(-1, -1, len(middles))  # [B, boxes, N]
    area = torch.where(near & inside & there, area, torch.inf)
    least, which = area.min(1)
    return which, torch.isfinite(least).float()


def overlaps(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Corners [..., 4] of each pair → intersection over union, and the generalised one, which also falls with the
    distance of boxes that do not meet."""
    low, high = torch.maximum(given[..., :2], wanted[..., :2]), torch.minimum(given[..., 2:], wanted[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(-1) for each in (given, wanted)]
    either = (areas[0] + areas[1] - both).clamp(min=1e-9)
    around = torch.maximum(given[..., 2:], wanted[..., 2:]) - torch.minimum(given[..., :2], wanted[..., :2])
    hull = around.prod(-1).clamp(min=1e-9)
    overlap = both / either
    return overlap, overlap - (hull - either) / hull
