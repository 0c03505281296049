"""A module's outputs for many inputs, in batches."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BATCH = 512


@torch.no_grad()
def predict(module: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [items, outputs], on the CPU in float32; the module must be in evaluation mode."""
    if module.training:
        raise ValueError("predict: the module is in training mode")
    parts = [
        module(torch.from_numpy(np.ascontiguousarray(inputs[at : at + BATCH]))).float().numpy()
        for at in range(0, len(inputs), BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
