"""A decoder's shape as a Hugging Face `config.json`, and back.

| our configuration                                | architecture     |
| ------------------------------------------------ | ---------------- |
| rope, rmsnorm, swiglu                            | LlamaForCausalLM |
| the same with qk_norm, no bias                   | Qwen3ForCausalLM |
| rope, rmsnorm, relu2                             | ArceeForCausalLM |
| learned, layernorm, gelu, bias, kv_heads = heads | GPT2LMHeadModel  |
| anything else                                    | MetrolineDecoder |

MetrolineDecoder is our own, with our own tensor names; `transformers` does not know it.
"""

from typing import Any

from pydantic import ValidationError

from base.errors import MetrolineError
from models.decoder.config import DecoderConfig

OWN = "MetrolineDecoder"
_LLAMA_LIKE = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3", "ArceeForCausalLM": "arcee"}
_ACTIVATIONS = {"LlamaForCausalLM": "silu", "Qwen3ForCausalLM": "silu", "ArceeForCausalLM": "relu2"}


def architecture(config: DecoderConfig) -> str:
    """The Hugging Face class that computes the same logits, or OWN where there is none."""
    style = (config.positions, config.norm, config.activation)
    if style == ("rope", "rmsnorm", "swiglu") and not config.qk_norm:
        return "LlamaForCausalLM"
    if style == ("rope", "rmsnorm", "swiglu") and not config.bias:
        return "Qwen3ForCausalLM"
    if style == ("rope", "rmsnorm", "relu2") and not config.qk_norm:
        return "ArceeForCausalLM"
    square = config.kv_heads == config.heads and config.heads * config.head_dim == config.width
    if style == ("learned", "layernorm", "gelu") and config.bias and square and not config.qk_norm:
        return "GPT2LMHeadModel"
    return OWN


def to_hf(config: DecoderConfig, eos: int | None = None) -> dict[str, Any]:
    """`config.json` of a model. `eos`: id of the token that ends a document."""
    name = architecture(config)
    common = {
        "architectures": [name],
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "bos_token_id": eos,
        "eos_token_id": eos,
        "dtype": "float32",
        "torch_dtype": "float32",  # the same for transformers before 5
    }
    if name == OWN:
        return common | {"model_type": "metroline", "decoder": config.model_dump()}
    if name == "GPT2LMHeadModel":
        return common | {
            "model_type": "gpt2",
            "n_positions": config.context,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            "embd_pdrop": config.dropout,
            "resid_pdrop": config.dropout,
            "attn_pdrop": 0.0,
        }
    return common | {
        "model_type": _LLAMA_LIKE[name],
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": _ACTIVATIONS[name],
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,  # before transformers 5
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "resid_pdrop": config.dropout,  # these architectures have none; kept to find it again
    }


def from_hf(values: dict[str, Any]) -> DecoderConfig:
    """The decoder that a `config.json` describes. Raises MetrolineError for what our decoder cannot compute."""
    try:
        name = values["architectures"][0]
    except (KeyError, IndexError, TypeError):
        raise MetrolineError("config.json names no architecture", hint="it needs an `architectures` list") from None
    try:
        if name == OWN:
            return DecoderConfig.model_validate(values["decoder"])
        if name == "GPT2LMHeadModel":
            return DecoderConfig.model_validate(_from_gpt2(values))
        if name in _LLAMA_LIKE:
            return DecoderConfig.model_validate(_from_llama(name, values))
    except KeyError as error:
        raise MetrolineError(f"config.json ({name}) has no {error.args[0]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MetrolineError(f"config.json ({name}): {where}: {first['msg']}".replace(": :", ":")) from None
    known = ", ".join([*_LLAMA_LIKE, "GPT2LMHeadModel", OWN])
    raise MetrolineError(f"config.json: architecture {name} is not supported", hint=f"these are: {known}")


def _require(values: dict[str, Any], name: str, allowed: dict[str, tuple[Any, ...]]) -> None:
    for key, choices in allowed.items():
        if key in values and values[key] not in choices:
            raise MetrolineError(f"config.json ({name}): {key} = {values[key]!r} is not supported, only {choices[0]!r}")


def _from_gpt2(values: dict[str, Any]) -> dict[str, Any]:
    _require(
        values,
        "GPT2LMHeadModel",
        {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
    )
    width = values["n_embd"]
    return {
        "vocab_size": values["vocab_size"],
        "context": values["n_positions"],
        "layers": values["n_layer"],
        "heads": values["n_head"],
        "width": width,
        "hidden": values.get("n_inner") or 4 * width,
        "positions": "learned",
        "norm": "layernorm",
        "activation": "gelu",
        "bias": True,
        "tied": values.get("tie_word_embeddings", True),
        "norm_eps": values.get("layer_norm_epsilon", 1e-5),
        "dropout": values.get("resid_pdrop", 0.0),
        "init_std": values.get("initializer_range", 0.02),
    }


def _from_llama(name: str, values: dict[str, Any]) -> dict[str, Any]:
    bias = values.get("attention_bias", False)
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    _require(values, name, {"hidden_act": (_ACTIVATIONS[name],), "use_sliding_window": (False,)})
    _require({"rope_type": rope.get("rope_type", rope.get("type", "default"))}, name, {"rope_type": ("default",)})
    _require(values, name, {"attention_bias": (False,)} if name == "Qwen3ForCausalLM" else {"mlp_bias": (bias,)})
    heads = values["num_attention_heads"]
    return {
        "vocab_size": values["vocab_size"],
        "context": values["max_position_embeddings"],
        "layers": values["num_hidden_layers"],
        "heads": heads,
        "kv_heads": values.get("num_key_value_heads") or heads,
        "width": values["hidden_size"],
        "head_dim": values.get("head_dim") or values["hidden_size"] // heads,
        "hidden": values["intermediate_size"],
        "activation": "relu2" if name == "ArceeForCausalLM" else "swiglu",
        "qk_norm": name == "Qwen3ForCausalLM",
        "bias": bias,
        "tied": values.get("tie_word_embeddings", False),
        "norm_eps": values["rms_norm_eps"],
        "rope_theta": rope.get("rope_theta") or values.get("rope_theta", 10_000.0),
        "dropout": values.get("resid_pdrop", 0.0),
        "init_std": values.get("initializer_range", 0.02),
    }
