"""BERT as a Hugging Face folder: its shape and weights into an encoder, and back.

    config = shaped(EncoderConfig(), Path("files"))               # of config.json
    fill(network, Path("files"))                           # of model.safetensors
    save_pretrained(network, Path("folder"))

A modern encoder, for which `transformers` has no class, is such a folder too: config.json has its keys below `model`,
the weights have the names that they have here, and only Metroline reads it. Every tensor of a folder is used, or is one
of those that belong to the heads of its pretraining and are left out. Safetensors only.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from base.errors import MetrolineError
from base.files import atomic_path, read_object, write_json
from data.text.weights import find
from models.decoder.weight_files import Shapes, read_safetensors, weight_files
from models.encoder.model import Encoder
from models.encoder.shape import EncoderConfig

KEYS = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "context": "max_position_embeddings",
    "vocabulary": "vocab_size",
    "types": "type_vocab_size",
    "norm_eps": "layer_norm_eps",
}
"""Our keys → those of BERT's config.json."""
FIXED: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "pad_token_id": (0,),
}
"""Keys that may have these values alone, or be left out."""
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
TOP = {
    "embedding.weight": "embeddings.word_embeddings.weight",
    "places.weight": "embeddings.position_embeddings.weight",
    "types.weight": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}


def shaped(config: EncoderConfig, files: Path) -> EncoderConfig:
    """`config` with the shape of the folder in `files`. Raises MetrolineError: no BERT, one with parts that ours has
    not, a key of the recipe that says otherwise."""
    path = _folder(files) / "config.json"
    values = read_object(path, hint="fetch again")
    found = _shape(values["model"], path) if own(values) else _shape_of_bert(values, path)
    for key in sorted(config.model_fields_set & found.keys()):
        if (said := getattr(config, key)) != found[key]:
            raise MetrolineError(f"model.{key}: the recipe says {said}, the weights {found[key]}", hint="leave it out")
    try:
        made = EncoderConfig.model_validate(config.model_dump() | found)
    except ValueError as error:
        raise MetrolineError(f"{path}: {' '.join(str(error).split())}") from None
    if wrong := next(made.problems(), None):
        raise MetrolineError(f"{path}: {wrong}")
    return made


def own(values: dict[str, Any]) -> bool:
    """Whether this config.json is of an encoder that only Metroline reads."""
    return isinstance(values.get("model"), dict) and str(values.get("architectures")).startswith("['MetrolineEncoder")


def is_bert(config: EncoderConfig) -> bool:
    """Whether `transformers` has a class of this shape."""
    return config.places == "learned" and config.norm == "post" and config.activation != "geglu"


def _shape(model: dict[str, Any], path: Path) -> dict[str, Any]:
    """Of an encoder of ours."""
    try:
        return {key: model[key] for key in (*KEYS, "places", "norm", "activation")}
    except KeyError as error:
        raise MetrolineError(f"{path} has no model.{error.args[0]}", hint="copy it again") from None


def _shape_of_bert(values: dict[str, Any], path: Path) -> dict[str, Any]:
    if (kind := values.get("model_type")) != "bert":
        raise MetrolineError(f"{path}: model_type is {kind!r}", hint="an encoder takes the weights of a BERT")
    for key, allowed in FIXED.items():
        if values.get(key, allowed[0]) not in allowed:
            raise MetrolineError(f"{path}: {key} is {values[key]!r}, and the encoder knows {allowed[0]!r} alone")
    if (name := values.get("hidden_act", "gelu")) not in ACTIVATIONS:
        raise MetrolineError(f"{path}: hidden_act is {name!r}", hint=f"supported: {', '.join(ACTIVATIONS)}")
    found: dict[str, Any] = {"places": "learned", "norm": "post", "activation": ACTIVATIONS[name]}
    try:
        return found | {ours: values[theirs] for ours, theirs in KEYS.items()}
    except KeyError as error:
        raise MetrolineError(f"{path} has no {error.args[0]}", hint="fetch again") from None


def fill(network: Encoder, files: Path) -> None:
    """Put a folder's weights into the network, all but its head. Raises MetrolineError: a file that is missing or
    damaged, a tensor that is missing, left over, of another shape or not finite."""
    folder = _folder(files)
    paths = weight_files(folder)
    prefix = _prefix(paths[0])
    theirs = names(network, prefix)
    shapes = network.state_dict()
    wanted = {name: tuple(shapes[ours].shape) for name, ours in theirs.items()}
    tensors = read_safetensors(paths, wanted, _besides(network.config, prefix))
    network.load_state_dict({ours: tensors[name] for name, ours in theirs.items()}, strict=False)


def save_pretrained(network: Encoder, folder: Path) -> None:
    """Write config.json and model.safetensors, without head and pooler: of a BERT as `transformers.BertModel` reads
    them."""
    write(folder, tensors(network), described(network, "Model"))


def names(network: Encoder, prefix: str = "") -> dict[str, str]:
    """Names in a folder → ours, of all weights but the head's. `prefix`: what theirs begin with, such as `bert.`"""
    ours = [name for name in network.state_dict() if not name.startswith("head.")]
    return {prefix + (_name(name) if is_bert(network.config) else name): name for name in ours}


def tensors(network: Encoder, prefix: str = "") -> dict[str, torch.Tensor]:
    """An encoder's weights, without its head, by their names in a folder."""
    weights, config = network.state_dict(), network.config
    found = {theirs: weights[ours] for theirs, ours in names(network, prefix).items()}
    if is_bert(config) and network.types is None:  # BERT has at least one, which is added everywhere
        found[prefix + TOP["types.weight"]] = torch.zeros(1, config.width)
    return found


def described(network: Encoder, head: str) -> dict[str, Any]:
    """The contents of config.json. `head`: Model (none) or ForMaskedLM."""
    config = network.config
    if not is_bert(config):
        model = config.model_dump(mode="json") | {"vocabulary": network.embedding.num_embeddings}
        places = {"max_position_embeddings": config.context, "vocab_size": model["vocabulary"]}
        return {"architectures": [f"MetrolineEncoder{head}"], **places, "model": model}
    values = {theirs: getattr(config, ours) for ours, theirs in KEYS.items()}
    values |= {"vocab_size": network.embedding.num_embeddings, "type_vocab_size": config.types or 1}
    values |= {"intermediate_size": config.hidden or 4 * config.width, "pad_token_id": 0}
    values |= {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": 0.0}
    values["hidden_act"] = "gelu" if config.activation == "gelu" else "gelu_pytorch_tanh"
    return {"architectures": [f"Bert{head}"], "model_type": "bert", **values}


def write(folder: Path, weights: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Write model.safetensors and config.json; equal weights as equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(whole, temporary, metadata={"format": "pt"})
    write_json(folder / "config.json", values)


def _folder(files: Path) -> Path:
    found = find(files)
    if not found.is_dir():
        raise MetrolineError(f"{found.name}: an encoder takes no GGUF file", hint="take a Hugging Face folder")
    return found


def _prefix(path: Path) -> str:
    """What the names of an encoder's weights begin with beside a head: `bert.` of BERT, `body.` of ours, or nothing."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            first = {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises several kinds
        raise MetrolineError(f"{path} is not a whole safetensors file: {error}", hint="copy it again") from None
    return next((f"{name}." for name in ("bert", "body") if name in first), "")


def _name(name: str) -> str:
    """The name of one of our weights in a BertModel."""
    if name in TOP:
        return TOP[name]
    _, number, part, kind = name.split(".")
    return f"encoder.layer.{number}.{LAYER[part]}.{kind}"


def _besides(config: EncoderConfig, prefix: str) -> Shapes:
    """What a BERT may have that the encoder leaves out: place numbers, the pooler, heads of its pretraining; and ours
    the head of its own."""
    width, vocabulary = config.width, config.vocabulary
    if prefix == "body.":
        head: Shapes = {"dense.weight": (width, width), "bias": (vocabulary,)}
        return head | dict.fromkeys(("dense.bias", "norm.weight", "norm.bias"), (width,))
    transform = "cls.predictions.transform"
    return {
        f"{prefix}embeddings.position_ids": (1, config.context),
        f"{prefix}pooler.dense.weight": (width, width),
        f"{prefix}pooler.dense.bias": (width,),
        "cls.predictions.bias": (vocabulary,),
        "cls.predictions.decoder.weight": (vocabulary, width),
        "cls.predictions.decoder.bias": (vocabulary,),
        f"{transform}.dense.weight": (width, width),
        f"{transform}.dense.bias": (width,),
        f"{transform}.LayerNorm.weight": (width,),
        f"{transform}.LayerNorm.bias": (width,),
        "cls.seq_relationship.weight": (2, width),
        "cls.seq_relationship.bias": (2,),
    }
