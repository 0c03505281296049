"""A module's outputs for many inputs, in batches."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BATCH, BYTES = 512, 2 << 20
"""Most items and most bytes of input that go through a module at once: the activations of large images would be
gigabytes, and most of the time would go into fetching fresh memory."""


@torch.no_grad()
def predict(module: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [items, outputs], on the CPU in float32; the module must be in evaluation mode."""
    if module.training:
        raise ValueError("predict: the module is in training mode")
    size = max(1, min(BATCH, BYTES * len(inputs) // max(1, inputs.nbytes)))
    parts = [
        module(torch.from_numpy(np.ascontiguousarray(inputs[at : at + size]))).float().numpy()
        for at in range(0, len(inputs), size)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
