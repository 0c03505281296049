"""Small decoders of every style, for the tests of this folder."""

import torch

from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder

STYLES: dict[str, dict[str, object]] = {
    "llama": {"kv_heads": 2},
    "llama-bias-untied": {"bias": True, "tied": False},
    "qwen3": {"qk_norm": True, "kv_heads": 2, "head_dim": 32},
    "multi-query": {"kv_heads": 1, "qk_norm": True},
    "arcee": {"activation": "relu2"},
    "gpt2": {"positions": "learned", "norm": "layernorm", "activation": "gelu", "bias": True},
    "own": {"activation": "relu2", "qk_norm": True},  # no Hugging Face architecture computes this one
}


def build(style: str, seed: int = 0, **changes: object) -> Decoder:
    """A small decoder with every weight, norms and biases too, moved away from its initial value."""
    values = {"vocab_size": 61, "context": 32, "layers": 2, "heads": 4, "width": 64, "init_std": 0.15}
    config = DecoderConfig.model_validate(values | STYLES[style] | changes)
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(config, generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model.eval()


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 61, shape, generator=torch.Generator().manual_seed(seed))
