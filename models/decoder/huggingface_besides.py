"""What a Hugging Face folder may hold besides a decoder's weights: what the decoder makes itself.

    tensors = read_safetensors(files, weights, besides(config))
    leave_out(tensors, config, folder)

Old files carry GPT-2's causal mask or Llama's rotary frequencies. Equal to ours they say nothing new; others would
change the logits and are an error.
"""

from pathlib import Path

import torch
from torch import Tensor

from base.errors import MetrolineError
from models.decoder.config import DecoderConfig
from models.decoder.huggingface_config import OWN, architecture

_ROUNDING = 2**-7  # relative: frequencies may be stored in bfloat16


def besides(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that a folder of this model may have besides its weights."""
    shapes: dict[str, tuple[int, ...]] = {}
    kind = architecture(config)
    if kind == "GPT2LMHeadModel":
        for layer in range(config.layers):
            shapes[f"transformer.h.{layer}.attn.bias"] = (1, 1, config.context, config.context)
            shapes[f"transformer.h.{layer}.attn.masked_bias"] = ()
    elif kind != OWN:
        half = (config.head_dim // 2,)
        shapes["model.rotary_emb.inv_freq"] = half
        shapes |= {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": half for layer in range(config.layers)}
    return shapes


def leave_out(tensors: dict[str, Tensor], config: DecoderConfig, folder: Path) -> None:
    """Take what the decoder makes itself out of `tensors`. MetrolineError where it is not what the decoder makes."""
    for name in sorted(besides(config).keys() & tensors.keys()):
        if not _is_ours(name, tensors.pop(name), config):
            raise MetrolineError(
                f"{folder}: {name} is not what config.json describes, so the model computes in another way",
                hint="only a causal mask and RoPE without scaling are supported",
            )


def _is_ours(name: str, values: Tensor, config: DecoderConfig) -> bool:
    """Whether the decoder computes with the same mask or frequencies."""
    if name.endswith("inv_freq"):
        exponents = torch.arange(0, config.head_dim, 2) / config.head_dim
        return torch.allclose(values, config.rope_theta**-exponents, rtol=_ROUNDING, atol=0)
    if name.endswith("masked_bias"):  # what is added where the mask is 0
        return bool(values <= -1e4)
    return torch.equal(values, torch.ones_like(values).tril())
