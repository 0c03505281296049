"""Language models of every kind as a folder: weights, configuration and tokenizer.

    save(network, Path("checkpoint"), tokenizer=Path("prepared/tokenizer.json"), eos=0)
    network = load(Path("checkpoint"))

A decoder is a Hugging Face folder (`models.decoder.huggingface`). Of any other kind, config.json has its keys below
`model`, and only Metroline reads it. Such a kind has classes `Config` and `Network`.
"""

import importlib
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from base.errors import MetrolineError
from base.files import atomic_path, read_object, write_json
from base.imports import inner_module
from models.common.config import ModelConfig
from models.common.stateful import StatefulModel
from models.decoder import huggingface
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder

LanguageModel = Decoder | StatefulModel
"""Token ids [B, S] → logits [B, S, V], whatever it remembers the earlier tokens by."""


def build(config: ModelConfig, generator: torch.Generator | None = None) -> LanguageModel:
    """The network of a configuration, with first weights drawn from `generator`. Raises MetrolineError: a kind that
    is no language model."""
    if isinstance(config, DecoderConfig):
        return Decoder(config, generator)
    module = importlib.import_module(inner_module(type(config).__module__.removesuffix(".config"), "network"))
    network = getattr(module, "Network", None)
    if not (isinstance(network, type) and issubclass(network, StatefulModel)):
        raise MetrolineError(f"model.kind: {config.kind} is no language model")  # type: ignore[attr-defined]
    make: Any = network  # its constructor takes the kind's own Config, and the generator
    made: StatefulModel = make(config, generator)
    return made


def save(network: LanguageModel, folder: Path, *, tokenizer: Path, eos: int | None) -> None:
    """Write the folder; each file atomically, equal weights as equal bytes. Arguments as `save_pretrained` has them."""
    if isinstance(network, Decoder):
        return huggingface.save_pretrained(network, folder, tokenizer=tokenizer, eos=eos)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / "generation_config.json", {"bos_token_id": eos, "eos_token_id": eos, "do_sample": True})
    huggingface.save_tokenizer(tokenizer, folder, context=network.config.context, eos=eos)
    model = network.config.model_dump(mode="json")
    name = "".join(part.title() for part in model["kind"].split("-"))
    write_json(folder / "config.json", {"architectures": [f"Metroline{name}LM"], "model": model})


def load(folder: Path) -> LanguageModel:
    """Read a folder into a float32 network on the CPU, in evaluation mode.

    Raises MetrolineError: no such file, an unreadable or unsupported config.json, a damaged weight file, a tensor that
    is missing, left over or of the wrong shape.
    """
    values = read_object(folder / "config.json", hint="copy it again")
    if not isinstance(model := values.get("model"), dict):
        return huggingface.load(folder)
    config = _config(model, folder / "config.json")
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
    network = build(config)
    network.load_state_dict(huggingface.read_safetensors(huggingface.weight_files(folder), expected))
    return network.eval()


def _config(values: dict[str, Any], path: Path) -> ModelConfig:
    """The configuration that config.json has below `model`."""
    kind = str(values.get("kind"))
    try:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind):
            raise ImportError
        name = inner_module(f"models.{kind.replace('-', '_')}", "config")
        found: type[ModelConfig] = importlib.import_module(name).Config
    except (ImportError, AttributeError):
        raise MetrolineError(f"{path}: there is no model {kind!r}", hint="it is of another version") from None
    try:
        return found.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MetrolineError(f"{path}: model.{where}: {first['msg']}", hint="copy it again") from None
