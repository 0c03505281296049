"""A decoder as a Hugging Face folder, written and read.

    save_pretrained(model, Path("checkpoint"), tokenizer=Path("prepared/tokenizer.json"), eos=0)
    model = load(Path("checkpoint"))

`transformers`, vLLM and llama.cpp's converter read the folder where `models.decoder.huggingface_config` finds an
architecture of theirs. Safetensors only, one file or several with an index: no pickles. It does not download anything;
GGUF files are `models.decoder.gguf`'s.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from base.errors import MetrolineError
from base.files import atomic_path, read_json, read_object, write_json
from models.decoder.huggingface_config import OWN, architecture, from_hf, to_hf
from models.decoder.model import Decoder

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
_BESIDE_TOKENIZER = ("tokenizer_config.json", "generation_config.json", "chat_template.jinja")
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

    Raises MetrolineError: no such file, unreadable or unsupported config.json, a damaged weight file, a tensor that
    is missing, left over or of the wrong shape.
    """
    values = read_object(folder / "config.json", hint="copy it again")
    try:
        config = from_hf(values)
    except MetrolineError as error:
        raise MetrolineError(f"{folder}: {error}") from None
    with torch.device("meta"):  # shapes to check against, before any memory is taken
        expected = {name: tuple(tensor.shape) for name, tensor in state_to_hf(Decoder(config)).items()}
    tensors = read_safetensors(weight_files(folder), expected)
    model = Decoder(config)
    model.load_state_dict(state_from_hf(tensors, architecture(config)), strict=not config.tied)
    return model.eval()


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the files that model.safetensors.index.json names. Raises MetrolineError."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        pickled = next(iter(sorted(folder.glob("pytorch_model*.bin"))), None)
        if pickled is not None:
            raise MetrolineError(
                f"{folder} has its weights as {pickled.name}, a pickle, which can run code and is not opened",
                hint="take the model's safetensors files",
            )
        raise MetrolineError(f"{folder} is not a model folder: model.safetensors is missing")
    places = read_object(index, hint="copy it again").get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise MetrolineError(f"{index} has no weight_map of tensors to files")
    files = []
    for name in sorted(set(places.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise MetrolineError(f"{index} names the file {name}, which is not beside it")
        files.append(folder / name)
    return files


def read_safetensors(paths: list[Path], expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of all files as float32, checked by name and shape. Raises MetrolineError."""
    places: dict[str, tuple[Path, str]] = {}
    result: dict[str, Tensor] = {}
    for path in paths:
        with _opened(path) as file:
            for stored in file.keys():  # noqa: SIM118
                # GPT-2's own files leave out the name of the decoder in its class with a head.
                name = f"transformer.{stored}" if f"transformer.{stored}" in expected else stored
                if name in places:
                    raise MetrolineError(f"{path}: {stored} is also in {places[name][0].name}")
                places[name] = path, stored
                shape = tuple(file.get_slice(stored).get_shape())
                if name in expected and shape != expected[name]:
                    raise MetrolineError(f"{path}: {stored} is {list(shape)}, config.json says {list(expected[name])}")
    # GPT-2 files of old carry the causal mask, and tied files sometimes a second copy of the embedding.
    ignored = {name for name in places if name.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"))}
    ignored |= {"lm_head.weight"} - expected.keys()
    missing, extra = sorted(expected.keys() - places.keys()), sorted(places.keys() - expected.keys() - ignored)
    where = str(paths[0] if len(paths) == 1 else paths[0].parent)
    if missing:
        raise MetrolineError(f"{where} lacks {len(missing)} tensors that config.json names: {_few(missing)}")
    if extra:
        raise MetrolineError(f"{where} has {len(extra)} tensors that config.json does not name: {_few(extra)}")
    for path in paths:
        with _opened(path) as file:
            for name in expected:
                if places[name][0] == path:
                    result[name] = file.get_tensor(places[name][1]).float()
    return result


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
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
