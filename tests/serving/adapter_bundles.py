"""A base with room for adapters, and adapters with random weights for it."""

import json
from pathlib import Path

import numpy as np
import torch

from base import manifest
from base.files import read_json
from base.forms import GRAPHS
from models.adapters import Form, adapted, attach
from models.decoder.model import Decoder
from pipelines.exporting.adapters.bank import Layout, Matrices
from tests.serving.engines.decode import exported_bundle

ROOM = 4
NAME = "exported"


def base(folder: Path) -> Decoder:
    """Write a base to an empty folder; returns its model."""
    return exported_bundle.build(folder, "llama", adapters=ROOM)


def draw(model: Decoder, seed: int, rank: int = 8) -> dict[str, Matrices]:
    """Put a random adapter onto a copy of a model, in place. Returns its matrices by layer."""
    generator = torch.Generator().manual_seed(seed)
    attach(model, Form(rank, 2.0 * rank), ["*_proj"], generator)
    with torch.no_grad():
        for layer in adapted(model).values():
            layer.lora_b.normal_(0, 0.3, generator=generator)
    return {
        name: (layer.lora_a.detach().numpy().T, layer.scaling * layer.lora_b.detach().numpy().T)
        for name, layer in adapted(model).items()
    }


def adapter(folder: Path, base: Path, name: str, matrices: dict[str, Matrices]) -> Path:
    """Write a bundle of an adapter of the bundle `base`."""
    folder.mkdir()
    layout, files = Layout.load(base), read_json(base / "manifest.json")["files"]
    for form in GRAPHS:
        np.save(folder / f"adapter.{form}.npy", layout.row(form, matrices))
    said = {"base": NAME, "base_sha256": files["model.safetensors"],
            "layout": {file: files[file] for file in ("adapters.json", "adapters.safetensors")}}  # fmt: skip
    (folder / "adapter.json").write_text(json.dumps(said))
    (folder / "README.md").write_text(f"# {name}\n")
    (folder / "serving.json").write_text(json.dumps({"name": name}))
    manifest.write(
        folder, {"name": name, "data_hash": "a" * 64, "model": {}, "metrics": {}, "parity": {}, "recipe": {}}
    )
    return folder
