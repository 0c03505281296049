"""Antialiased resize as two matrix products, so that trainer and exported graph compute the same for images of any
size."""

import torch
from torch import Tensor, nn


class Resize(nn.Module):
    """uint8 [1, H, W, C] → uint8 [1, height, width, C]: a triangle filter as wide as the step (Pillow's BILINEAR)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class. An image that has the size already keeps its bytes."""
        x = pixels[0].to(torch.float32).permute(2, 0, 1)  # [C, H, W]
        rows = weights(torch.ones_like(x[0, :, 0]), self.height)  # [height, H]
        columns = weights(torch.ones_like(x[0, 0]), self.width)  # [width, W]
        x = rows @ x @ columns.T
        return x.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)[None]


def weights(ones: Tensor, new: int) -> Tensor:
    """`ones` [old] → float32 [new, old], each row summing to 1. All of it are tensors, so that `old` may be any."""
    step = ones.sum() / new
    centers = (torch.arange(new, dtype=torch.float32) + 0.5) * step
    distance = (ones.cumsum(0) - 0.5)[None] - centers[:, None]
    found = (1 - (distance / step.clamp(min=1.0)).abs()).clamp(min=0)
    return found / found.sum(1, keepdim=True)
