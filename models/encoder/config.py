"""The keys of `model: {kind: encoder}`, and the way to the network. Imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from models.encoder.shape import EncoderConfig

if TYPE_CHECKING:
    import torch

    from models.encoder.model import Encoder

Config = EncoderConfig


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "Encoder":
    """The network with its first weights, for token ids [length, vocabulary]."""
    from models.encoder.model import Encoder

    return Encoder(config, shape, outputs, generator)


def shaped(config: Config, files: Path) -> Config:
    """The shape as a fetched Hugging Face folder's config.json says. Raises MetrolineError."""
    from models.encoder.huggingface import shaped

    return shaped(config, files)


def first(body: "Encoder", files: Path) -> None:
    """The weights of a fetched Hugging Face folder. Raises MetrolineError."""
    from models.encoder.huggingface import fill

    fill(body, files)
