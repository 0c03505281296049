"""The network of a detector: pixels in, boxes with labels and scores out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from base.errors import MetrolineError
from data.signature import BoxesOutput, ImageInput
from models.common.entries import ImageEntry
from models.common.nms import nms
from pipelines.tasks.supervised.begin import body_of
from pipelines.tasks.supervised.network import fill, signature_of

if TYPE_CHECKING:
    from pydantic import BaseModel


class Detector(nn.Module):
    """uint8 [B, H, W, C] → logits [B, labels, N] of N places and their boxes [B, N, 4]: corners in fractions of the
    image's sides."""

    middles: Tensor
    size: Tensor

    def __init__(self, entry: ImageEntry, body: nn.Module, height: int, width: int) -> None:
        super().__init__()
        self.entry, self.body, self.cell = entry, body, int(body.cell)  # type: ignore[arg-type]
        rows, columns = (torch.arange(side // self.cell) * self.cell + self.cell / 2 for side in (height, width))
        middles = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], 2)
        self.register_buffer("middles", middles.reshape(-1, 2), persistent=False)  # x and y in pixels
        self.register_buffer("size", torch.tensor([width, height], dtype=torch.float32), persistent=False)

    def forward(self, pixels: Tensor, seed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`seed`: of dropout; None: none."""
        logits, distances = self.body(self.entry(pixels), seed)
        sides = distances.float().flatten(2).transpose(1, 2)  # [B, N, 4]
        boxes = torch.cat([self.middles - sides[..., :2], self.middles + sides[..., 2:]], 2)
        return logits.float().flatten(2), boxes / self.size.repeat(2)


class Answers(nn.Module):
    """What is exported: pixels → rows [B, most, 6] as `BoxesOutput` says, with the thresholds that stand there."""

    def __init__(self, network: Detector, output: BoxesOutput) -> None:
        super().__init__()
        self.network, self.iou, self.least, self.most = network, output.iou, output.least, output.shape[0]

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        logits, boxes = self.network(pixels)
        boxes, scores = boxes.clamp(0, 1), logits.sigmoid()
        places = scores.shape[2]
        kept = (scores * nms(boxes, scores, self.iou, self.least, self.most)).flatten(1)  # [B, labels · N]
        best, which = kept.topk(self.most, dim=1)
        corners = boxes.gather(1, (which % places)[..., None].expand(-1, -1, 4))
        label = torch.div(which, places, rounding_mode="floor").to(corners.dtype)
        rows = torch.cat([corners, best[..., None], label[..., None]], 2)
        return torch.where(best[..., None] > 0, rows, 0.0)


def build(model: "BaseModel", index: dict[str, Any], generator: torch.Generator) -> Detector:
    """The network with its first weights for prepared data. Raises MetrolineError: a model that has no box to give, or
    cannot take images of this size; fewer places than boxes of an image."""
    declared, output = signature_of(index).inputs[0], signature_of(index).outputs[0]
    assert isinstance(declared, ImageInput)
    assert isinstance(output, BoxesOutput)
    shape = (declared.channels, declared.height, declared.width)
    body = body_of(model, "detector", "gives no boxes", shape, len(output.labels), generator)
    network = Detector(ImageEntry(index["fitted"]), body, declared.height, declared.width)
    if (places := len(network.middles) * len(output.labels)) < output.shape[0]:
        raise MetrolineError(f"task.most: {output.shape[0]} boxes, but the network has {places} places for some")
    return network


def load(model: "BaseModel", index: dict[str, Any], checkpoint: Path) -> Detector:
    """The trained network in evaluation mode. Raises MetrolineError: none there, or of another recipe."""
    network = build(model, index, torch.Generator())
    fill(network, checkpoint)
    return network
