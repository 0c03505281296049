"""The keys of `model: {kind: vit}`, and the way to the network. Imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.common.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from models.vit.model import ViT


class Config(ModelConfig):
    """Patches, blocks of attention over all of them, mean over the patches, one linear layer."""

    kind: Literal["vit"] = "vit"
    patch: int = Field(default=4, ge=1, description="pixels of a patch's side; divides the image's height and width")
    layers: int = Field(default=4, ge=1)
    width: int = Field(default=64, ge=4, description="a multiple of heads")
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def problems(self) -> Iterator[str]:
        """See `ModelConfig`."""
        if self.width % self.heads:
            yield f"model.width: {self.width} is not a multiple of model.heads ({self.heads})"


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: "torch.Generator") -> "ViT":
    """The network with its first weights, for images [C, H, W]. Raises ValueError: patches that do not fill one."""
    from models.vit.model import ViT

    if shape[1] % config.patch or shape[2] % config.patch:
        raise ValueError(f"model.patch {config.patch} does not divide images of {shape[1]} x {shape[2]}")
    return ViT(config, shape, outputs, generator)
