"""The network of a segmenter: pixels in, probabilities of the labels of each pixel out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from data.signature import ImageInput, MaskOutput
from models.common.entries import ImageEntry
from pipelines.tasks.supervised.begin import body_of
from pipelines.tasks.supervised.network import fill, signature_of

if TYPE_CHECKING:
    from pydantic import BaseModel


class Segmenter(nn.Module):
    """uint8 [B, H, W, C] → logits [B, labels, H, W]"""

    def __init__(self, entry: ImageEntry, body: nn.Module) -> None:
        super().__init__()
        self.entry, self.body = entry, body

    def forward(self, pixels: Tensor, seed: Tensor | None = None) -> Tensor:
        """`seed`: of dropout; None: none."""
        logits: Tensor = self.body(self.entry(pixels), seed)
        return logits


class Answers(nn.Module):
    """What is exported: pixels → probabilities [B, labels, H, W]."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return torch.softmax(self.network(pixels).float(), 1)


def build(model: "BaseModel", index: dict[str, Any], generator: torch.Generator) -> Segmenter:
    """The network with its first weights for prepared data. Raises MetrolineError: a model that has no mask to give, or
    cannot take images of this size."""
    declared, output = signature_of(index).inputs[0], signature_of(index).outputs[0]
    assert isinstance(declared, ImageInput)
    assert isinstance(output, MaskOutput)
    shape = (declared.channels, declared.height, declared.width)
    body = body_of(model, "segmenter", "gives no label to each pixel", shape, len(output.labels), generator)
    return Segmenter(ImageEntry(index["fitted"]), body)


def load(model: "BaseModel", index: dict[str, Any], checkpoint: Path) -> Segmenter:
    """The trained network in evaluation mode. Raises MetrolineError: none there, or of another recipe."""
    network = build(model, index, torch.Generator())
    fill(network, checkpoint)
    return network
