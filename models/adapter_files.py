"""Adapters as PEFT's files: `adapter_model.safetensors` and `adapter_config.json`, written and read.

    write(network, Path("adapter"), base="artifacts/smollm2/checkpoint", base_sha256=..., published="model.{}".format)
    read(Path("adapter"), network, base_sha256=..., published="model.{}".format)

`published`: a layer's name here → its name in the network that others know, which PEFT's files use. `base_sha256` in
the configuration is of the weights that the adapter was trained on; it is worth nothing on others. PEFT does not read
that key. No pickles; what would change the computation and is not known here is refused.
"""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from base.errors import MetrolineError
from base.files import atomic_path, read_object, write_json
from models.adapters import Form, adapted, attach, own
from models.decoder.weight_files import read_safetensors, shapes

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""What PEFT calls the network inside its own module."""
PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "magnitude": "lora_magnitude_vector"}

_SAYS = frozenset({
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "bias", "init_lora_weights", "base_sha256",
    "base_quantized",
})  # fmt: skip
"""Keys of PEFT's that are read."""
_SAYS_NOTHING = frozenset({
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version", "qalora_group_size",
    "revision", "runtime_config", "target_modules", "task_type",
})  # fmt: skip
"""Keys of PEFT's that only matter to training, or that the tensors' names say again."""

Published = Callable[[str], str]


def write(
    network: nn.Module,
    folder: Path,
    *,
    base: str | None,
    base_sha256: str,
    published: Published,
    whole: Collection[str] = (),
) -> None:
    """Write a network's adapters; equal ones give equal bytes.

    `base`: where the weights below them are, for PEFT; `whole`: layers that were trained whole beside them, as a new
    head, which PEFT calls modules_to_save.
    """
    layers = adapted(network)
    form = next(iter(layers.values())).form
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        for part, weight in own(layer).items():
            tensors[f"{PREFIX}{published(name)}.{PARTS[part]}"] = weight
    for name in whole:
        for part, weight in network.get_submodule(name).named_parameters():
            tensors[f"{PREFIX}{published(name)}.{part}"] = weight
    tensors = {name: weight.detach().cpu().float().contiguous() for name, weight in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    values = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "base_sha256": base_sha256,
        "base_quantized": "nf4" if form.quantized else None,
        "r": form.rank,
        "lora_alpha": form.alpha,
        "use_rslora": form.stabilized,
        "use_dora": form.decomposed,
        "target_modules": _targets(network, published),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": sorted(map(published, whole)) or None,
        "inference_mode": True,
    }
    write_json(folder / CONFIG, values)


def _targets(network: nn.Module, published: Published) -> list[str]:
    """The adapted layers as PEFT names them: by the ends of their names where these mean no other layer too."""
    layers = set(adapted(network))
    last = {name.rpartition(".")[2] for name in layers}
    others = {name for name, module in network.named_modules() if isinstance(module, nn.Linear)} - layers
    if last & {name.rpartition(".")[2] for name in others}:
        return sorted(map(published, layers))
    return sorted({published(name).rpartition(".")[2] for name in layers})


def read(folder: Path, network: nn.Module, *, base_sha256: str, published: Published) -> None:
    """Put the adapters of a folder onto a network, in place; all else of it is frozen.

    `base_sha256`: of the network's own weights; files without one (PEFT's) are taken for those of any that fits.
    Raises MetrolineError, one line: missing, damaged or pickled files, an adapter of another base, a configuration that
    computes something else, layers that the network has not, other shapes or ranks, numbers that are not finite.
    """
    if not (folder / WEIGHTS).is_file() and (pickled := folder / "adapter_model.bin").is_file():
        raise MetrolineError(
            f"{pickled} is a pickle, which can run code and is not opened", hint="save the adapter as safetensors"
        )
    form = _form(read_object(folder / CONFIG, hint="copy it again"), folder, base_sha256)
    path = folder / WEIGHTS
    if not path.is_file():
        raise MetrolineError(f"{folder} is no adapter: {WEIGHTS} is missing")
    linears = {published(name): (name, module) for name, module in network.named_modules()
               if isinstance(module, nn.Linear)}  # fmt: skip
    parts = {theirs: ours for ours, theirs in PARTS.items() if ours != "magnitude" or form.decomposed}
    there = shapes(path)
    names: dict[str, tuple[str, str]] = {}  # a tensor's in the file → the layer's here, the part
    for stored in there:
        theirs, part = _divided(stored, parts)
        if theirs not in linears:
            raise _unknown(path, stored)
        names[stored] = linears[theirs][0], part
    whole = {(layer, part) for layer, _ in names.values() for part in parts.values()}
    if missing := sorted(whole - set(names.values())):
        layer, part = missing[0]
        raise MetrolineError(f"{path} has no {PREFIX}{published(layer)}.{PARTS[part]}")
    if not names:
        raise MetrolineError(f"{path} holds no adapter")
    modules = dict(linears.values())
    expected = {stored: _shape(modules[layer], part, form) for stored, (layer, part) in names.items()}
    for stored, shape in there.items():
        if shape != expected[stored]:
            should = list(expected[stored])
            raise MetrolineError(f"{path}: {stored} is {list(shape)}, rank {form.rank} on this base makes it {should}")
    tensors = read_safetensors([path], expected)
    attach(network, form, sorted({layer for layer, _ in names.values()}), None)
    layers = adapted(network)
    with torch.no_grad():
        for stored, (layer, part) in names.items():
            getattr(layers[layer], part).copy_(tensors[stored])


def _form(config: Mapping[str, Any], folder: Path, base_sha256: str) -> Form:
    """What a configuration says that the adapters compute."""
    path = folder / CONFIG
    if (kind := config.get("peft_type")) != "LORA":
        raise MetrolineError(f"{path}: peft_type is {kind}, only LORA is read")
    for key in ("modules_to_save", "trainable_token_indices"):
        if config.get(key):
            raise MetrolineError(
                f"{path}: {key} {config[key]} are whole layers beside the adapter, as of a resized vocabulary",
                hint="merge it with PEFT, and take the merged model as the pretrained one",
            )
    for key in sorted(config.keys() - _SAYS - _SAYS_NOTHING):
        if config[key] not in (None, False, {}, []):
            raise MetrolineError(f"{path}: {key}: {config[key]} changes what is computed, and is not supported")
    if config.get("bias", "none") != "none":
        raise MetrolineError(f"{path}: bias: {config['bias']} changes what is computed, and is not supported")
    if (init := config.get("init_lora_weights", True)) not in (True, False, "gaussian"):
        raise MetrolineError(f"{path}: init_lora_weights: {init} changes the weights below the adapter")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1:
        raise MetrolineError(f"{path}: r is {rank}, not a number from 1")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise MetrolineError(f"{path}: lora_alpha is {alpha}, not a number above 0")
    other = config.get("base_sha256")
    if other is not None and other != base_sha256:
        theirs = f"{config.get('base_model_name_or_path')}, sha256 {str(other)[:12]}…"
        raise MetrolineError(f"{folder} is an adapter of other weights ({theirs}), not of these ({base_sha256[:12]}…)")
    if (packed := config.get("base_quantized")) not in (None, "nf4"):
        raise MetrolineError(f"{path}: base_quantized is {packed}, only nf4 is known")
    return Form(rank, float(alpha), bool(config.get("use_rslora")), bool(config.get("use_dora")), packed == "nf4")


def _divided(stored: str, parts: Mapping[str, str]) -> tuple[str, str]:
    """`base_model.model.x.lora_A.weight` → x, lora_a; of any other name, what is no layer."""
    for theirs, ours in parts.items():
        if stored.startswith(PREFIX) and stored.endswith(f".{theirs}"):
            return stored.removeprefix(PREFIX).removesuffix(f".{theirs}"), ours
    return "", ""


def _unknown(path: Path, stored: str) -> MetrolineError:
    whole = any(part in stored for part in ("embed", "lm_head", "wte", "modules_to_save"))
    hint = "a resized vocabulary? Merge it with PEFT, and take the merged model" if whole else None
    return MetrolineError(f"{path}: the network has no linear layer for {stored}", hint=hint)


def _shape(linear: nn.Linear, part: str, form: Form) -> tuple[int, ...]:
    sizes = {"lora_a": (form.rank, linear.in_features), "lora_b": (linear.out_features, form.rank)}
    return sizes.get(part, (linear.out_features,))
