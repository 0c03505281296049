"""Graphs of one call: writing them, and running them and their modules on named arrays."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from data.signature import Input, Signature
from pipelines.exporting import archives
from pipelines.exporting.onnx.tidy import quiet, strip
from pipelines.exporting.onnx.translations import TRANSLATIONS

if TYPE_CHECKING:
    from pipelines.tasks.interface import Predict

OPSET = 20
ANY = -1
"""In a signature's shape: any length."""
FREE = {"audio": 4001}
"""Kind of input → the length of an example where any is possible: of sound so many samples that several frames come
out, since torch.export takes sizes of 1 as fixed."""


def export(model: nn.Module, signature: Signature, example: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write `model` with any batch, and any length where the signature says so."""
    names = [each.name for each in signature.inputs]
    _export(model, _example(signature, example), names, [each.name for each in signature.outputs], _shapes(signature),
            path)  # fmt: skip


def export_pre(pre: nn.Module, signature: Signature, path: Path) -> None:
    """Write the graph that brings one image of any size to the network's."""
    name, channels = signature.inputs[0].name, signature.inputs[0].shape[-1]
    pixels = torch.zeros((1, 37, 53, channels), dtype=torch.uint8)
    shapes = ({1: torch.export.Dim("height", min=1), 2: torch.export.Dim("width", min=1)},)
    _export(pre, (pixels,), [name], [f"{name}_resized"], shapes, path)


def export_pt2(model: nn.Module, signature: Signature, example: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write torch.export's archive; inputs and outputs by position."""
    with quiet(), torch.no_grad():
        program = torch.export.export(model, _example(signature, example), dynamic_shapes=_shapes(signature))
        torch.export.save(program, archive := BytesIO())
    archives.write(archive, path)


def _export(
    model: nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], shapes: Any, path: Path
) -> None:
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            model, example, dynamo=True, optimize=True, opset_version=OPSET, input_names=inputs, output_names=outputs,
            dynamic_shapes=shapes, custom_translation_table=TRANSLATIONS, verbose=False,
        )  # fmt: skip
    assert program is not None  # only without dynamo is there none
    proto = program.model_proto
    strip(proto)
    onnx.checker.check_model(proto, full_check=False)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _example(signature: Signature, example: Mapping[str, NDArray[Any]]) -> tuple[torch.Tensor, ...]:
    """Inputs with a batch of 3: torch.export takes sizes of 1 as fixed."""
    return tuple(
        torch.from_numpy(np.ascontiguousarray(np.resize(example[each.name], (3, *_sizes(each)))))
        for each in signature.inputs
    )


def _sizes(each: Input) -> list[int]:
    return [FREE.get(each.kind, 5) if size == ANY else size for size in each.shape]


def _shapes(signature: Signature) -> tuple[dict[int, Any], ...]:
    dynamic = torch.export.Dim.DYNAMIC
    return tuple(
        {0: dynamic, **{place + 1: dynamic for place, size in enumerate(each.shape) if size == ANY}}
        for each in signature.inputs
    )


def runner(path: Path, signature: Signature) -> "Predict":
    """An exported form as a function of named arrays. Raises MetrolineError: it does not load."""
    if path.suffix == ".pt2":
        module = torch.export.load(str(path)).module()
        return module_runner(module, signature)
    return _session(path, [each.name for each in signature.inputs], [each.name for each in signature.outputs])


def pre_runner(path: Path, signature: Signature) -> "Predict":
    """pre.onnx as a function of the image's array, [1, H, W, C]; the output has the input's name."""
    name = signature.inputs[0].name
    run = _session(path, [name], [f"{name}_resized"])
    return lambda inputs: {name: run(inputs)[f"{name}_resized"]}


def module_runner(module: nn.Module, signature: Signature) -> "Predict":
    """A module as a function of named arrays."""
    inputs, outputs = [each.name for each in signature.inputs], [each.name for each in signature.outputs]

    @torch.no_grad()
    def run(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        given = module(*(torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in inputs))
        given = given if isinstance(given, tuple) else (given,)
        return {name: each.numpy() for name, each in zip(outputs, given, strict=True)}

    return run


def _session(path: Path, inputs: list[str], outputs: list[str]) -> "Predict":
    import onnxruntime as ort

    from base.errors import MetrolineError

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises several of its own
        raise MetrolineError(f"export: {path.name} does not load: {' '.join(str(error).split())[:200]}") from None

    def run(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feed = {name: np.ascontiguousarray(arrays[name]) for name in inputs}
        return dict(zip(outputs, session.run(outputs, feed), strict=True))

    return run
