"""A decoder as a Hugging Face folder, written and read.

    save_pretrained(model, Path("checkpoint"), tokenizer=Path("prepared/tokenizer.json"), eos=0)
    model = load(Path("checkpoint"))

`transformers`, vLLM and llama.cpp's converter read the folder where `models.decoder.huggingface_config` finds an
architecture of theirs. Safetensors only, no pickles: `models.decoder.weight_files` reads them. It does not download
anything; GGUF files are `models.decoder.gguf`'s.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from base.errors import MetrolineError
from base.files import atomic_path, read_json, read_object, write_json
from models.decoder.config import DecoderConfig
from models.decoder.huggingface_besides import besides, leave_out
from models.decoder.huggingface_config import OWN, architecture, from_hf, to_hf
from models.decoder.model import Decoder
from models.decoder.weight_files import read_safetensors, weight_files

__all__ = ["from_hf", "load", "published", "save_pretrained", "state_from_hf", "state_to_hf", "to_hf"]

# ours → GPT-2's, below h.{layer}
_GPT2_LAYER = {
    "input_layernorm": "ln_1",
    "self_attn.o_proj": "attn.c_proj",
    "post_attention_layernorm": "ln_2",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}
_GPT2_TOP = {"embed_tokens": "wte", "embed_positions": "wpe", "norm": "ln_f"}
_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2's Conv1D keeps [in, out]
_BESIDE_TOKENIZER = ("tokenizer_config.json", "generation_config.json", "chat_template.jinja")
HEAD = "lm_head.weight"
_QKV = ("q_proj", "k_proj", "v_proj")


def save_pretrained(model: Decoder, folder: Path, *, tokenizer: Path | None = None, eos: int | None = 0) -> None:
    """Write model.safetensors, config.json, generation_config.json and, with `tokenizer`, its files.

    `tokenizer`: a tokenizers-library `tokenizer.json` to copy, with what lies beside it when it came with pretrained
    weights (`data.text.pretrained`); `eos`: id of its end-of-document token, for one of ours. Each file is written
    atomically; equal weights give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_to_hf(model).items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    config = to_hf(model.config, eos)
    write_json(folder / "generation_config.json", {"bos_token_id": eos, "eos_token_id": eos, "do_sample": True})
    if tokenizer is not None and (tokenizer.parent / "generation_config.json").is_file():
        for name in ("tokenizer.json", *_BESIDE_TOKENIZER):
            _copy(tokenizer.parent / name, folder / name)
        generation = read_json(folder / "generation_config.json")
        config |= {name: generation.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    elif tokenizer is not None:
        save_tokenizer(tokenizer, folder, context=model.config.context, eos=eos)
    write_json(folder / "config.json", config)


def _copy(source: Path, target: Path) -> None:
    """Copy a file atomically; where there is none, have none."""
    if not source.is_file():
        return target.unlink(missing_ok=True)
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def save_tokenizer(tokenizer: Path, folder: Path, *, context: int, eos: int | None = 0) -> None:
    """Copy tokenizer.json and write the tokenizer_config.json with which `transformers` reads it."""
    _copy(tokenizer, folder / "tokenizer.json")
    added = read_json(tokenizer).get("added_tokens", [])
    names = {entry["id"]: entry["content"] for entry in added}
    values = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    if eos in names:
        values |= {"eos_token": names[eos], "bos_token": names[eos]}
    write_json(folder / "tokenizer_config.json", values | {"clean_up_tokenization_spaces": False})


def load(folder: Path) -> Decoder:
    """Read a folder with config.json and safetensors into a float32 decoder on the CPU, in evaluation mode.

    A head in the file that is not the embedding counts, even where config.json says `tie_word_embeddings`: the model
    is then untied, as in `transformers`.

    Raises MetrolineError: no such file, unreadable or unsupported config.json, a damaged weight file, a tensor that
    is missing, left over, of the wrong shape or type, or not finite.
    """
    values = read_object(folder / "config.json", hint="copy it again")
    try:
        config = from_hf(values)
    except MetrolineError as error:
        raise MetrolineError(f"{folder}: {error}") from None
    with torch.device("meta"):  # shapes to check against, before any memory is taken
        whole = Decoder(config.model_copy(update={"tied": False}))
        weights = {name: tuple(tensor.shape) for name, tensor in state_to_hf(whole).items()}
    optional = frozenset({HEAD} if config.tied else ())
    tensors = read_safetensors(weight_files(folder), weights, besides(config), optional)
    leave_out(tensors, config, folder)
    state = state_from_hf(tensors, architecture(config))
    if config.tied and not torch.equal(state.setdefault(HEAD, embedding := state["embed_tokens.weight"]), embedding):
        config = config.model_copy(update={"tied": False})
    model = Decoder(config)
    model.load_state_dict(state)
    return model.eval()


def state_to_hf(model: Decoder) -> dict[str, Tensor]:
    """The model's weights under Hugging Face's names (views where possible), a tied head left out."""
    state = {name: t for name, t in model.state_dict().items() if not (model.config.tied and name == HEAD)}
    kind = architecture(model.config)
    if kind == OWN:
        return state
    if kind != "GPT2LMHeadModel":
        return {name if name == HEAD else f"model.{name}": tensor for name, tensor in state.items()}
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, part = name.rpartition(".")
        if name == HEAD:
            result[name] = tensor
        elif module in _GPT2_TOP:
            result[f"transformer.{_GPT2_TOP[module]}.{part}"] = tensor
        else:
            _, layer, inner = module.split(".", 2)
            if inner == "self_attn.q_proj":
                pieces = [state[f"layers.{layer}.self_attn.{x}.{part}"] for x in _QKV]
                new, tensor = f"attn.c_attn.{part}", torch.cat(pieces)
            elif inner in ("self_attn.k_proj", "self_attn.v_proj"):
                continue
            else:
                new = f"{_GPT2_LAYER[inner]}.{part}"
            result[f"transformer.h.{layer}.{new}"] = tensor.t() if new.endswith(_TRANSPOSED) else tensor
    return result


def published(config: DecoderConfig, layer: str) -> str:
    """The name of a linear layer of ours in the folder's architecture. Raises MetrolineError for GPT-2, whose q, k
    and v are one layer."""
    kind = architecture(config)
    if kind == "GPT2LMHeadModel":
        raise MetrolineError(
            "an adapter of a GPT-2 cannot be written: its files have q, k and v as one layer, and transposed",
            hint="leave train.adapter out",
        )
    return layer if kind == OWN or layer == HEAD.removesuffix(".weight") else f"model.{layer}"


def state_from_hf(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The inverse of `state_to_hf` for an architecture's name."""
    if kind == OWN:
        return tensors
    if kind != "GPT2LMHeadModel":
        return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    layer_names = {new: ours for ours, new in _GPT2_LAYER.items()}
    top_names = {new: ours for ours, new in _GPT2_TOP.items()}
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        module, _, part = name.removeprefix("transformer.").rpartition(".")
        if name == HEAD:
            result[name] = tensor
        elif module in top_names:
            result[f"{top_names[module]}.{part}"] = tensor
        else:
            _, layer, inner = module.split(".", 2)
            if name.endswith(_TRANSPOSED):
                tensor = tensor.t()
            if inner == "attn.c_attn":
                for x, piece in zip(_QKV, tensor.chunk(3), strict=True):
                    result[f"layers.{layer}.self_attn.{x}.{part}"] = piece
            else:
                result[f"layers.{layer}.{layer_names[inner]}.{part}"] = tensor
    return result
