"""What the head of a frozen network is given for each example, computed once: only the head is run in training then."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.tasks.supervised.network import Network

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

BATCH = 512


def once(recipe: "Recipe") -> bool:
    """Whether an example has the same features in every epoch: nothing but the head learns, no image is augmented."""
    data = recipe.data
    changed = data.kind == "images" and bool(data.flip or data.shift or data.cutout or data.jitter)
    return bool(recipe.pretrained.freeze and recipe.train.adapter is None and not changed)


@torch.no_grad()
def features(network: Network, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Decoded inputs → the input of the head, float32 [items, width], in evaluation mode, without dropout."""
    found: list[NDArray[np.float32]] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].float().cpu().numpy())

    hook = network.body.get_submodule("head").register_forward_pre_hook(keep)
    try:
        network.eval()
        for at in range(0, len(inputs), BATCH):
            network(torch.from_numpy(np.ascontiguousarray(inputs[at : at + BATCH])).to(network.center.device))
    finally:
        hook.remove()
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


class Head(nn.Module):
    """A network's head as a network of its own: features [B, width] → what the whole network gives."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.head = network.body.get_submodule("head")
        self.center, self.spread = network.center, network.spread

    def forward(self, inputs: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        found: Tensor = self.head(inputs)
        return found
