"""Pretrained weights as one of our decoders: a GGUF file of the Llama family, or a Hugging Face folder.

    model = load(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))       # float32, dequantized

A Hugging Face folder is `models.decoder.huggingface`'s; the bytes of a GGUF file are read and dequantized by
`data.text.gguf_file`; the tokenizer is `data.text.pretrained`'s. Here is what the metadata and tensors of a GGUF file
mean.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from base.errors import MetrolineError
from data.text.gguf_file import GgufFile
from data.text.weights import is_gguf
from models.decoder import huggingface
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_FOLDERS = ("qwen3", "arcee", "gpt2")
"""Architectures that are read from Hugging Face folders only."""
_TOP = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}


def load(weights: Path) -> Decoder:
    """A .gguf file or a Hugging Face folder as a float32 decoder on the CPU, in evaluation mode.

    Raises MetrolineError: missing, damaged, cut off, another architecture, features that our decoder does not compute.
    """
    if not is_gguf(weights):
        return huggingface.load(weights)
    with GgufFile(weights) as file:
        try:
            return _decoder(file)
        except KeyError as error:
            raise MetrolineError(f"{weights} has no {error.args[0]} in its metadata") from None


def _decoder(file: GgufFile) -> Decoder:
    config = from_gguf(file)
    names = {gguf_name(name): name for name in _parameters(config)}
    stored = file.shapes
    missing, extra = sorted(names.keys() - stored.keys()), sorted(stored.keys() - names.keys())
    if missing:
        raise MetrolineError(f"{file.path} lacks {len(missing)} of its tensors, such as {missing[0]}")
    if extra:  # such as the frequencies of scaled RoPE, biases, experts
        raise MetrolineError(f"{file.path} has tensors that a Llama decoder does not: {', '.join(extra[:3])}")
    with torch.device("meta"):  # shapes to check against, before any memory is taken
        expected = {name: tuple(weight.shape) for name, weight in Decoder(config).named_parameters()}
    for theirs, ours in names.items():
        if stored[theirs] != expected[ours]:
            raise MetrolineError(
                f"{file.path}: {theirs} is {list(stored[theirs])}, its metadata says {list(expected[ours])}"
            )
    model = Decoder(config)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for theirs, ours in names.items():
            values = file.tensor(theirs)
            if theirs.endswith(("attn_q.weight", "attn_k.weight")):
                values = unpermuted(values, config.heads if "attn_q" in theirs else config.kv_heads)
            parameters[ours].copy_(torch.from_numpy(values))
    return model.eval()


def from_gguf(file: GgufFile) -> DecoderConfig:
    """The shape that a file's metadata describes. MetrolineError: not the Llama family, or a feature we do not have."""
    values = file.metadata
    name = values["general.architecture"]
    if name != "llama":
        raise MetrolineError(
            f"{file.path}: the architecture {name!r} is not supported as GGUF, only llama",
            hint="take its Hugging Face folder with safetensors"
            if name in _FOLDERS
            else f"take another model: llama as GGUF, or a Hugging Face folder of llama, {', '.join(_FOLDERS)}",
        )

    def of(key: str, default: Any = None) -> Any:
        return values[f"llama.{key}"] if default is None else values.get(f"llama.{key}", default)

    embedding = file.shapes.get("token_embd.weight", (0,))
    try:
        heads, width = of("attention.head_count"), of("embedding_length")
        config = DecoderConfig(
            vocab_size=embedding[0],
            context=of("context_length"),
            layers=of("block_count"),
            heads=heads,
            kv_heads=of("attention.head_count_kv", heads),
            width=width,
            head_dim=of("attention.key_length", width // heads),
            hidden=of("feed_forward_length"),
            tied="output.weight" not in file.shapes,
            rope_theta=of("rope.freq_base", 10_000.0),
            norm_eps=_shortest(of("attention.layer_norm_rms_epsilon")),
        )
    except (ValidationError, TypeError, ZeroDivisionError) as error:
        lines = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise MetrolineError(f"{file.path}: its metadata describes no decoder: {lines}") from None
    rope, experts = of("rope.scaling.type", "none"), of("expert_count", 0)
    if rope != "none" or of("rope.dimension_count", config.head_dim) != config.head_dim:
        raise MetrolineError(f"{file.path}: scaled or partial RoPE is not supported")
    if experts:
        raise MetrolineError(f"{file.path}: mixtures of experts are not supported")
    if of("attention.value_length", config.head_dim) != config.head_dim:
        raise MetrolineError(f"{file.path}: values of another width than keys are not supported")
    return config


def unpermuted(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows of a q or k projection [heads · D, W] from llama.cpp's order back to Hugging Face's (and ours).

    RoPE turns pairs of rows. llama.cpp keeps a pair side by side (0, 1), (2, 3), …; here a pair is (i, i + D / 2). Its
    converter interleaves a head's two halves; this takes them apart.
    """
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def gguf_name(name: str) -> str:
    """Our name of a parameter → the GGUF file's."""
    module, _, part = name.rpartition(".")
    if module.startswith("layers."):
        _, layer, inner = module.split(".", 2)
        return f"blk.{layer}.{next(theirs for theirs, ours in _LAYER.items() if ours == inner)}.{part}"
    return f"{next(theirs for theirs, ours in _TOP.items() if ours == module)}.{part}"


def _parameters(config: DecoderConfig) -> list[str]:
    """Names of the decoder's parameters, without building its layers: a damaged count of them must cost nothing."""
    layers = [
        f"layers.{layer}.{inner}.weight" for layer in range(min(config.layers, 10_000)) for inner in _LAYER.values()
    ]
    return [*layers, *(f"{ours}.weight" for ours in _TOP.values() if not (config.tied and ours == "lm_head"))]


def _shortest(value: float) -> float:
    """A number stored as float32, as people wrote it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if math.isfinite(value) else value
