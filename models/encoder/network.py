"""What a recipe with `model: {kind: encoder}` is trained as, and the weights that it may begin with."""

from pathlib import Path

import torch

from models.encoder import huggingface
from models.encoder.config import Config
from models.encoder.model import Encoder


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> Encoder:
    """The network with its first weights, for token ids [length, vocabulary]."""
    return Encoder(config, shape, outputs, generator)


def shaped(config: Config, files: Path) -> Config:
    """The shape as a fetched Hugging Face folder's config.json says. Raises MetrolineError."""
    return huggingface.shaped(config, files)


def first(body: Encoder, files: Path) -> None:
    """The weights of a fetched Hugging Face folder. Raises MetrolineError."""
    huggingface.fill(body, files)
