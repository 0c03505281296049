"""The network of a recogniser: samples in, logarithms of probabilities of the alphabet in each frame out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from data.signature import AudioInput, TranscriptOutput
from models.common.sound import SoundEntry
from pipelines.tasks.supervised.begin import body_of
from pipelines.tasks.supervised.network import fill, signature_of

if TYPE_CHECKING:
    from pydantic import BaseModel


class Recogniser(nn.Module):
    """float32 [B, samples] → logits [B, frames, symbols]"""

    def __init__(self, entry: SoundEntry, body: nn.Module) -> None:
        super().__init__()
        self.entry, self.body = entry, body

    def forward(self, sound: Tensor, seed: Tensor | None = None) -> Tensor:
        """`seed`: of dropout; None: none."""
        logits: Tensor = self.body(self.entry(sound), seed)
        return logits


class Answers(nn.Module):
    """What is exported: samples → logarithms of probabilities [B, frames, symbols]."""

    def __init__(self, network: Recogniser) -> None:
        super().__init__()
        self.network = network

    def forward(self, sound: Tensor) -> Tensor:
        """See the class."""
        return torch.log_softmax(self.network(sound).float(), 2)


def build(model: "BaseModel", index: dict[str, Any], generator: torch.Generator) -> Recogniser:
    """The network with its first weights for prepared data. Raises MetrolineError: a model that writes no text."""
    declared, output = signature_of(index).inputs[0], signature_of(index).outputs[0]
    assert isinstance(declared, AudioInput)
    assert isinstance(output, TranscriptOutput)
    fitted = index["fitted"]
    sizes = len(fitted["mean"]), len(output.alphabet)
    body = body_of(model, "recogniser", "writes no text of sounds", *sizes, generator)
    return Recogniser(SoundEntry(declared.rate, fitted), body)


def load(model: "BaseModel", index: dict[str, Any], checkpoint: Path) -> Recogniser:
    """The trained network in evaluation mode. Raises MetrolineError: none there, or of another recipe."""
    network = build(model, index, torch.Generator())
    fill(network, checkpoint)
    return network
