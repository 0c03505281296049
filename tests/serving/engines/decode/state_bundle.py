"""Bundles as `export` writes them, from small random networks with a state of fixed size."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import build as network
from models.common.stateful import StatefulModel, Stepper
from pipelines.exporting.onnx import fp32 as onnx_fp32
from tests.serving import tiny_bundle

STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("recurrent", {"cell": "lstm", "layers": 2, "width": 9, "hidden": 21}),
    "wavenet": ("wavenet", {"layers": 3, "width": 6, "hidden": 19}),
    "bigram": ("bigram", {}),
}


def build(folder: Path, style: str, context: int = 48, name: str = "stateful") -> StatefulModel:
    """Write a bundle with the byte tokenizer to an empty `folder`; returns the model it was exported from."""
    torch.set_num_threads(1)
    tokenizer = tiny_bundle.byte_tokenizer()
    vocab = tokenizer.get_vocab_size()
    module, keys = STYLES[style]
    config = importlib.import_module(f"models.{module}.config").Config(vocab_size=vocab, context=context, **keys)
    model = network(config, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        model.lm_head.weight *= 30  # so that what was seen matters to the likeliest token
    onnx_fp32.export(Stepper(model), folder / "model.onnx")
    tokenizer.save(str(folder / "tokenizer.json"))
    serving = {"context": context, "max_tokens": 400, "precision": "fp32", "eos": 0, "name": name}
    (folder / "serving.json").write_text(json.dumps(serving))
    facts = {"cache": "state", "vocab_size": vocab, "context": context, "eos": 0}
    tiny_bundle.write_manifest(folder, name, facts)
    return model
