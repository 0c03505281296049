"""Adapters in every form of a decoder against the same adapters in PyTorch, mixed in one batch and alone."""

import copy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from base.errors import MetrolineError
from models.adapters import Form, adapted, attach
from models.decoder.cached import CachedDecoder
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from pipelines.exporting.adapters import insert
from pipelines.exporting.adapters.bank import Layout, Matrices
from pipelines.exporting.onnx import fp32
from pipelines.exporting.quantize import int4, int8, ranges, rotation
from pipelines.exporting.quantize.frames import new_frames

VOCABULARY, LENGTH, RANK = 64, 24, 8
FILES = {"fp32": "model.onnx", "int8": "int8.onnx", "int4": "int4.onnx"}


def build(style: str) -> Decoder:
    shapes = {
        "llama": {"layers": 2, "kv_heads": 2, "hidden": 128},
        "gpt2": {"layers": 1, "positions": "learned", "norm": "layernorm", "activation": "gelu", "bias": True},
        "odd": {"layers": 1, "width": 40, "head_dim": 16},
    }
    common = {"vocab_size": VOCABULARY, "context": 64, "width": 64, "heads": 4, "init_std": 0.2}
    config = DecoderConfig.model_validate(common | shapes[style])
    return Decoder(config, torch.Generator().manual_seed(0)).eval()


def run(path: Path, tokens: np.ndarray, bank: np.ndarray | None = None, ids: tuple[int, ...] = ()) -> np.ndarray:
    """Logits [B, S, V]."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch, length = tokens.shape
    feeds = {"input_ids": tokens, "seqlens_k": np.full(batch, length - 1, np.int32),
             "total_sequence_length": np.array(length, np.int32), "logits_at": np.arange(batch * length)}  # fmt: skip
    for part in session.get_inputs():
        if part.name.startswith("past"):
            quantized = part.type == "tensor(int8)"
            shape = (batch, part.shape[1], length if quantized else 0, part.shape[3])
            feeds[part.name] = np.zeros(shape, np.int8 if quantized else np.float32)
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
    if bank is not None:
        values["adapters"] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bank, 16)
        values["adapter"] = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(ids, np.int32))
    return session.run_with_ort_values(["logits"], values)[0].numpy().reshape(batch, length, -1)


def with_adapter(network: Decoder, rank: int, targets: list[str], seed: int) -> tuple[Decoder, dict[str, Matrices]]:
    """The network with a random adapter, and the adapter's matrices."""
    other = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    attach(other, Form(rank, 2.0 * rank), targets, generator)
    with torch.no_grad():
        for layer in adapted(other).values():
            layer.lora_b.normal_(0, 0.07, generator=generator)
    matrices = {
        name: (layer.lora_a.detach().numpy().T, layer.scaling * layer.lora_b.detach().numpy().T)
        for name, layer in adapted(other).items()
    }
    return other, matrices


@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_every_form_takes_adapters(style: str, tmp_path: Path) -> None:
    network = build(style)
    plain, rotated = tmp_path / "model.onnx", tmp_path / "rotated.onnx"
    fp32.export(CachedDecoder(network), plain)
    windows = list(np.random.default_rng(0).integers(1, VOCABULARY, (8, 64)))
    frames = rotation.write(plain, rotated)
    int8.export(rotated, tmp_path / FILES["int8"], *ranges.measure(rotated, windows), frames)
    int4.export(plain, tmp_path / FILES["int4"], *ranges.measure(plain, windows))
    found, layout = insert.products(plain, network), Layout(3, RANK)
    for form, name in FILES.items():
        (tmp_path / f"before.{name}").write_bytes((tmp_path / name).read_bytes())
        turned = frames if form == "int8" else new_frames()
        layout.forms[form] = insert.insert(tmp_path / name, network, found, RANK, turned)
    layout.save(tmp_path)
    layout = Layout.load(tmp_path)

    first = with_adapter(network, 8, ["*_proj"], 1)
    second = with_adapter(network, 3, ["q_proj", "v_proj", "down_proj"], 2)
    tokens = np.random.default_rng(1).integers(1, VOCABULARY, (4, LENGTH))
    order = (0, 2, 1, 2)
    with torch.no_grad():
        wanted = np.concatenate([
            each(torch.tensor(row[None])).numpy()
            for each, row in zip([(network, first[0], second[0])[number] for number in order], tokens, strict=True)
        ])  # fmt: skip
        unadapted = network(torch.tensor(tokens)).numpy()
    for form, name in FILES.items():
        bank = np.zeros((4, layout.size(form)), np.uint16)
        bank[1], bank[2] = layout.row(form, first[1]), layout.row(form, second[1])
        before, mixed = run(tmp_path / f"before.{name}", tokens), run(tmp_path / name, tokens, bank, order)
        assert (mixed[0] == before[0]).all()
        assert (run(tmp_path / name, tokens, bank, (0, 0, 0, 0)) == before).all()
        quantization = np.square(before - unadapted).mean() ** 0.5  # what the form loses without adapters
        off, effect = (np.square(each[1:]).mean() ** 0.5 for each in (mixed - wanted, wanted - unadapted))
        assert off < max(0.02, 1.5 * quantization) < effect, form
        if form == "fp32":
            assert off < 0.02 * effect  # what the bank's bfloat16 rounds
        for row, number in enumerate(order):
            alone = run(tmp_path / name, tokens[row : row + 1], bank, (number,))
            assert np.abs(alone - mixed[row]).max() < 1e-4 * np.abs(wanted).max(), (form, row)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    network = build("gpt2")
    plain = tmp_path / "model.onnx"
    fp32.export(CachedDecoder(network), plain)
    found = insert.products(plain, network)
    layout = Layout(1, RANK, {"fp32": insert.insert(plain, network, found, RANK, new_frames())})
    for rank, layer, said in ((16, "layers.0.mlp.up_proj", "rank 16"), (8, "layers.7.mlp.up_proj", "no room")):
        width = 64
        with pytest.raises(MetrolineError, match=said):
            layout.row("fp32", {layer: (np.zeros((width, rank), np.float32), np.zeros((rank, 128), np.float32))})
    with pytest.raises(MetrolineError, match="without room for adapters"):
        Layout.load(tmp_path)
    with pytest.raises(MetrolineError, match="no product with"):
        insert.products(plain, build("llama"))


def test_widths_that_the_kernels_do_not_take_are_refused(tmp_path: Path) -> None:
    network, path = build("odd"), tmp_path / "model.onnx"
    fp32.export(CachedDecoder(network), path)
    with pytest.raises(MetrolineError, match="not multiples of 16"):
        insert.insert(path, network, insert.products(path, network), RANK, new_frames())
