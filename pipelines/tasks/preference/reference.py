"""Log-probabilities of all answers under the first weights: computed once, sealed by a hash, read when a run goes on.

reference.safetensors    train, valid: float32 [pairs, 2], chosen and rejected
    its metadata             `about`, JSON: `made_of` (a hash of weights, data, precision), `sha256` (of the values)
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from base.files import atomic_path

FILE = "reference.safetensors"


def made_of(network: nn.Module, data_hash: str, device: torch.device) -> str:
    """SHA-256 of all that decides the values: each weight as it is now, the data, and the precision of products."""
    found = hashlib.sha256(data_hash.encode())
    precise = not torch.is_autocast_enabled(device.type)
    found.update(str(torch.float32 if precise else torch.get_autocast_dtype(device.type)).encode())
    for name, weight in sorted(network.named_parameters()):
        found.update(name.encode() + b"\0" + weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def kept(folder: Path, identity: str, compute: Callable[[], Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], str]:
    """The values of each split, and their SHA-256: those in `folder` when they were made of the same and are whole,
    else what `compute` gives, which is written there."""
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about == {"made_of": identity, "sha256": digest(values)}:
            return values, about["sha256"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        pass
    values = {name: value.cpu().contiguous() for name, value in compute().items()}
    folder.mkdir(parents=True, exist_ok=True)
    seal = digest(values)
    with atomic_path(path) as temporary:
        save_file(values, temporary, metadata={"about": json.dumps({"made_of": identity, "sha256": seal})})
    return values, seal


def digest(values: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes."""
    found = hashlib.sha256()
    for name in sorted(values):
        found.update(name.encode() + b"\0" + values[name].numpy().tobytes())
    return found.hexdigest()
