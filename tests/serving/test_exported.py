"""What `export` writes is what serving runs: real exported decoders, prefilled and decoded over the shared cache."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from serving.bundle import Bundle
from serving.graph import Graph

torch = pytest.importorskip("torch")

STYLES = {
    "llama": {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "qk_norm": True},
    "gpt2": {"layers": 1, "width": 32, "heads": 2, "positions": "learned", "norm": "layernorm", "activation": "gelu",
             "bias": True},
}  # fmt: skip


@pytest.fixture(scope="module", params=STYLES)
def exported(request, tmp_path_factory):
    """(bundle, the model it was exported from)"""
    from models.config import DecoderConfig
    from models.decoder import Decoder
    from models.export import CachedDecoder
    from pipelines.exporting import onnx_fp32, onnx_int8

    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("exported")
    tokenizer = tiny_bundle.byte_tokenizer()
    vocab = tokenizer.get_vocab_size()
    config = DecoderConfig(vocab_size=vocab, context=48, init_std=0.2, **STYLES[request.param])
    model = Decoder(config, torch.Generator().manual_seed(0)).eval()
    onnx_fp32.export(CachedDecoder(model), folder / "model.onnx")
    onnx_int8.export(folder / "model.onnx", folder / "model.int8.onnx")
    tokenizer.save(str(folder / "tokenizer.json"))
    serving = {"context": 48, "max_tokens": 16, "precision": "int8", "eos": 0, "name": "exported"}
    (folder / "serving.json").write_text(json.dumps(serving))
    shape = {"layers": config.layers, "kv_heads": config.kv_heads, "head_dim": config.head_dim, "vocab_size": vocab,
             "context": 48, "eos": 0}  # fmt: skip
    tiny_bundle.write_manifest(folder, "exported", shape)
    return folder, model


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.5)])
@pytest.mark.parametrize("prompt", [1, 30, 48])
def test_logits_are_the_models(exported, precision, tolerance, prompt):
    folder, model = exported
    tokens = [int(token) for token in np.random.default_rng(0).integers(1, 260, 48)]
    with torch.inference_mode():
        expected = model(torch.tensor([tokens]))[0].numpy()
    graph = Graph(Bundle.load(folder, precision), threads=1)
    rows = [row.copy() for logits in graph.prefill(tokens[:prompt]) for row in logits]
    rows += [graph.decode(token, prompt + i).copy() for i, token in enumerate(tokens[prompt:])]
    assert np.abs(np.array(rows) - expected).max() < tolerance
    assert np.abs(expected).max() > 2  # so that the tolerances mean something
