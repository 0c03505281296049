"""A decoder as a Hugging Face folder, written and read.

    save_pretrained(model, Path("checkpoint"), tokenizer=Path("prepared/tokenizer.json"), eos=0)
    model = load(Path("checkpoint"))

`transformers`, vLLM and llama.cpp's converter read the folder where `models.huggingface_config` finds an architecture
of theirs. Safetensors only: no pickles. It does not download anything.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data.errors import MetrolineError
from data.files import atomic_path, write_json
from models.decoder import Decoder
from models.huggingface_config import OWN, architecture, from_hf, to_hf

__all__ = ["from_hf", "load", "save_pretrained", "state_from_hf", "state_to_hf", "to_hf"]

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
_QKV = ("q_proj", "k_proj", "v_proj")


def save_pretrained(model: Decoder, folder: Path, *, tokenizer: Path | None = None, eos: int | None = 0) -> None:
    """Write model.safetensors, config.json, generation_config.json and, with `tokenizer`, its two files.

    `tokenizer`: a tokenizers-library `tokenizer.json` to copy; `eos`: id of its end-of-document token. Each file is
    written atomically; equal weights give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_to_hf(model).items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / "config.json", to_hf(model.config, eos))
    write_json(folder / "generation_config.json", {"bos_token_id": eos, "eos_token_id": eos, "do_sample": True})
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder, context=model.config.context, eos=eos)


def save_tokenizer(tokenizer: Path, folder: Path, *, context: int, eos: int | None = 0) -> None:
    """Copy tokenizer.json and write the tokenizer_config.json with which `transformers` reads it."""
    with atomic_path(folder / "tokenizer.json") as temporary:
        shutil.copyfile(tokenizer, temporary)
    added = json.loads(tokenizer.read_text(encoding="utf-8")).get("added_tokens", [])
    names = {entry["id"]: entry["content"] for entry in added}
    values = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    if eos in names:
        values |= {"eos_token": names[eos], "bos_token": names[eos]}
    write_json(folder / "tokenizer_config.json", values | {"clean_up_tokenization_spaces": False})


def load(folder: Path) -> Decoder:
    """Read a folder with config.json and model.safetensors into a float32 decoder on the CPU, in evaluation mode.

    Raises MetrolineError: no such file, unreadable or unsupported config.json, a damaged weight file, a tensor that
    is missing, left over or of the wrong shape.
    """
    config_path, weights = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights):
        if not path.is_file():
            raise MetrolineError(f"{folder} is not a model folder: {path.name} is missing")
    try:
        values = json.loads(config_path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MetrolineError(f"{config_path} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise MetrolineError(f"{config_path} is not a JSON object")
    try:
        config = from_hf(values)
    except MetrolineError as error:
        raise MetrolineError(f"{folder}: {error}") from None
    with torch.device("meta"):  # shapes to check against, before any memory is taken
        expected = {name: tuple(tensor.shape) for name, tensor in state_to_hf(Decoder(config)).items()}
    tensors = read_safetensors(weights, expected)
    model = Decoder(config)
    model.load_state_dict(state_from_hf(tensors, architecture(config)), strict=not config.tied)
    return model.eval()


def read_safetensors(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a file as float32, checked by name and shape. Raises MetrolineError."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            # GPT-2 files of old carry the causal mask, and tied files sometimes a second copy of the embedding.
            ignored = {n for n in shapes if n.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"))}
            ignored |= {"lm_head.weight"} - expected.keys()
            missing = sorted(expected.keys() - shapes.keys())
            extra = sorted(shapes.keys() - expected.keys() - ignored)
            if missing:
                raise MetrolineError(f"{path} lacks {len(missing)} tensors that config.json names: {_few(missing)}")
            if extra:
                raise MetrolineError(f"{path} has {len(extra)} tensors that config.json does not name: {_few(extra)}")
            for name, shape in expected.items():
                if shapes[name] != shape:
                    raise MetrolineError(f"{path}: {name} is {list(shapes[name])}, config.json says {list(shape)}")
            return {name: file.get_tensor(name).float() for name in expected}
    except (SafetensorError, OSError) as error:
        raise MetrolineError(f"{path} is not a whole safetensors file: {error}", hint="copy it again") from None


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def state_to_hf(model: Decoder) -> dict[str, Tensor]:
    """The model's weights under Hugging Face's names (views where possible), a tied head left out."""
    state = {name: t for name, t in model.state_dict().items() if not (model.config.tied and name == "lm_head.weight")}
    kind = architecture(model.config)
    if kind == OWN:
        return state
    if kind != "GPT2LMHeadModel":
        return {name if name == "lm_head.weight" else f"model.{name}": tensor for name, tensor in state.items()}
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, part = name.rpartition(".")
        if name == "lm_head.weight":
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
        if name == "lm_head.weight":
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
