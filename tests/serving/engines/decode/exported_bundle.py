"""Bundles as `export` writes them, from small random decoders of each style, in fp32, int8 and int4."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from base.forms import GRAPHS
from models.decoder.cached import CachedDecoder
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from pipelines.exporting.adapters import insert
from pipelines.exporting.adapters.bank import Layout
from pipelines.exporting.onnx import fp32 as onnx_fp32
from pipelines.exporting.quantize import int4 as onnx_int4
from pipelines.exporting.quantize import int8 as onnx_int8
from pipelines.exporting.quantize import ranges, rotation
from pipelines.exporting.quantize.frames import new_frames
from tests.serving import tiny_bundle

STYLES: dict[str, dict[str, Any]] = {
    "llama": {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "qk_norm": True},
    "gpt2": {"layers": 1, "width": 32, "heads": 2, "positions": "learned", "norm": "layernorm", "activation": "gelu",
             "bias": True},
    "odd": {"layers": 2, "width": 40, "heads": 5, "head_dim": 8, "positions": "learned"},  # no kernel of ours takes it
    "smol": {"layers": 2, "width": 48, "heads": 3, "kv_heads": 1},
}  # fmt: skip


def build(folder: Path, style: str, context: int = 48, adapters: int = 0) -> Decoder:
    """Write a bundle with the byte tokenizer to an empty `folder`; returns the model it was exported from. `adapters`:
    how many it has room for, of rank up to 8."""
    torch.set_num_threads(1)
    tokenizer = tiny_bundle.byte_tokenizer()
    vocab = tokenizer.get_vocab_size()
    config = DecoderConfig(vocab_size=vocab, context=context, init_std=0.2, **STYLES[style])
    model = Decoder(config, torch.Generator().manual_seed(0)).eval()
    onnx_fp32.export(CachedDecoder(model), folder / "model.onnx")
    windows = np.random.default_rng(0).integers(1, vocab, (8, context))
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "rotated.onnx"
        frames = rotation.write(folder / "model.onnx", source)
        onnx_int8.export(source, folder / "model.int8.onnx", *ranges.measure(source, windows), frames)
    plain = folder / "model.onnx"
    onnx_int4.export(plain, folder / "model.int4.onnx", *ranges.measure(plain, windows))
    if adapters:
        found, layout = insert.products(plain, model), Layout(adapters, 8)
        for form, file in GRAPHS.items():
            turned = frames if form == "int8" else new_frames()
            layout.forms[form] = insert.insert(folder / file, model, found, 8, turned)
        layout.save(folder)
        save_file({"random": np.arange(8)}, folder / "model.safetensors")  # stands for the weights: its hash counts
    tokenizer.save(str(folder / "tokenizer.json"))
    serving = {"context": context, "max_tokens": 400, "precision": "int8", "eos": 0, "name": "exported"}
    (folder / "serving.json").write_text(json.dumps(serving))
    shape = {"layers": config.layers, "kv_heads": config.kv_heads, "head_dim": config.head_dim, "vocab_size": vocab,
             "context": context, "eos": 0, **({"adapters": adapters} if adapters else {})}  # fmt: skip
    tiny_bundle.write_manifest(folder, "exported", shape)
    return model
