"""Run an exported file on tensors, and check that it has the inputs and outputs that serving is written against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto
from torch import Tensor

from base.errors import MetrolineError
from base.processor import saturates
from models.decoder.cached import CachedDecoder
from pipelines.exporting.onnx.operators import ADAPTER, BANK
from pipelines.exporting.parity import Runner, inputs
from pipelines.tasks.interface import Logits

OF_ADAPTERS = (BANK, ADAPTER)

TYPES = {
    "input_ids": "tensor(int64)",
    "seqlens_k": "tensor(int32)",
    "total_sequence_length": "tensor(int32)",
    "logits_at": "tensor(int64)",
}


def open_onnx(path: Path, model: CachedDecoder) -> onnxruntime.InferenceSession:
    """Open a graph and check its inputs and outputs. Raises MetrolineError: not a graph, wrong interface."""
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions; do not print them as well
        if saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common public base
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise MetrolineError(f"{path.name} does not load: {first_line}") from error
    config = model.model.config
    quantized = any(part.type == "tensor(int8)" for part in session.get_inputs())
    length, cached = ("capacity", "tensor(int8)") if quantized else ("past", "tensor(float)")
    cache: list[int | str] = ["batch", config.kv_heads, length, config.head_dim]
    shapes: dict[str, list[int | str]] = {
        "input_ids": ["batch", "sequence"],
        "seqlens_k": ["batch"],
        "total_sequence_length": [],
        "logits_at": ["rows"],
        **dict.fromkeys(model.input_names[4:], cache),
    }
    found = {part.name: (part.type, list(part.shape)) for part in session.get_inputs() if part.name not in OF_ADAPTERS}
    wanted = {name: (TYPES.get(name, cached), shape) for name, shape in shapes.items()}
    if found != wanted:
        wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        details = "; ".join(f"{name} is {found.get(name)}, not {wanted.get(name)}" for name in wrong[:3])
        raise MetrolineError(f"{path.name} has other inputs than serving gives: {details}")
    outputs = [part.name for part in session.get_outputs()]
    if outputs != model.output_names:
        raise MetrolineError(f"{path.name} has other outputs than serving reads: {outputs}")
    return session


def onnx_runner(session: onnxruntime.InferenceSession, adapter: np.ndarray | None = None) -> Runner:
    """Tensors in, tensors out. A quantized cache gets room for the new tokens first. `adapter`: the numbers of one that
    every row goes through, uint16 [size], for a graph that has room for adapters; None: the base alone."""
    parts = [part for part in session.get_inputs() if part.name not in OF_ADAPTERS]
    room = next((part for part in session.get_inputs() if part.name == BANK), None)
    bank = np.zeros((2, room.shape[1]), np.uint16) if room is not None else None
    if bank is not None and adapter is not None:
        bank[1] = adapter

    def run(tensors: list[Tensor]) -> Sequence[Tensor]:
        feeds = {part.name: tensor.numpy() for part, tensor in zip(parts, tensors, strict=True)}
        total = int(feeds["total_sequence_length"])
        for part in parts:
            if part.type == "tensor(int8)" and (room := total - feeds[part.name].shape[2]) > 0:
                cache = feeds[part.name].astype(np.int8)
                feeds[part.name] = np.pad(cache, ((0, 0), (0, 0), (0, room), (0, 0)))
        if bank is None:
            return [torch.from_numpy(np.asarray(array)) for array in session.run(None, feeds)]
        feeds[ADAPTER] = np.full(len(tensors[0]), adapter is not None, np.int32)
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        values[BANK] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bank, TensorProto.BFLOAT16)
        return [torch.from_numpy(value.numpy()) for value in session.run_with_ort_values(None, values)]

    return run


def torchscript_runner(path: Path) -> Runner:
    """Load model.ts."""
    module = torch.jit.load(str(path))
    return lambda tensors: module(*tensors)


def pt2_runner(path: Path) -> Runner:
    """Load model.pt2."""
    module = torch.export.load(str(path)).module()
    return lambda tensors: module(*tensors)


def open_runner(form: str, path: Path, model: CachedDecoder, adapter: np.ndarray | None = None) -> Runner:
    """Load a form of `pipelines.exporting.stage`; `adapter`: see `onnx_runner`.

    Raises MetrolineError when it is missing or damaged.
    """
    if not path.is_file():
        raise MetrolineError(f"{path} is missing", hint="metroline stage export RECIPE")
    if form in ("onnx", "int8", "int4"):
        return onnx_runner(open_onnx(path, model), adapter)
    try:
        return torchscript_runner(path) if form == "torchscript" else pt2_runner(path)
    except Exception as error:  # a damaged archive: whatever torch's readers raise
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise MetrolineError(f"{path.name} does not load: {first_line}") from error


def logits_of(runner: Runner, model: CachedDecoder, chunk: int | None = None) -> Logits:
    """A function from token ids [B, S] to logits [B, S, V], for `scoring.score`.

    `chunk`: put each row in by itself, that many tokens at a time, so that a quantized cache is read as well as
    written; default: all at once, without a cache.
    """

    def whole(tokens: Tensor) -> Tensor:
        batch, length = tokens.shape
        cache = [part for pair in model.model.empty_cache(batch) for part in pair]
        return runner(inputs(tokens, torch.full((batch,), length), cache))[0].view(batch, length, -1)

    def chunked(tokens: Tensor) -> Tensor:
        rows = []
        for row in tokens[:, None]:
            cache = [part for pair in model.model.empty_cache(1) for part in pair]
            for start in range(0, row.shape[1], chunk or 1):
                part = row[:, start : start + (chunk or 1)]
                logits, *cache = runner(inputs(part, torch.tensor([start + part.shape[1]]), cache))
                rows.append(logits)
        return torch.cat(rows).view(*tokens.shape, -1)

    return chunked if chunk else whole
