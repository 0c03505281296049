"""Activations by name, for networks that leave the choice to the recipe."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.common.config import Activation

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "swish": F.silu,
}
