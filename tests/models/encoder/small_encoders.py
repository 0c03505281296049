"""Small encoders of both styles, and ragged rows of tokens."""

from typing import Any

import torch

from models.encoder.model import Encoder
from models.encoder.network import Config, build

STYLES: dict[str, dict[str, Any]] = {
    "bert": {"types": 2},
    "modern": {"places": "rope", "norm": "pre", "activation": "geglu", "hidden": 48},
}
VOCABULARY = 61


def small(style: str, outputs: int = 3, **changes: Any) -> Encoder:
    """With every weight, norms and the head too, moved away from its first value."""
    config = Config.model_validate({"layers": 2, "width": 32, "heads": 4, "context": 24} | STYLES[style] | changes)
    generator = torch.Generator().manual_seed(0)
    network = build(config, (20, VOCABULARY), outputs, generator)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return network.eval()


def ragged(*lengths: int, seed: int = 1) -> torch.Tensor:
    """Token rows of these lengths, int64 [B, longest], zeros behind each."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(1, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    return rows * (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])
