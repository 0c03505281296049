"""The tensors of a Hugging Face folder's safetensors, one file or several with an index, each checked.

    tensors = read_safetensors(weight_files(folder), {"model.norm.weight": (64,)})

Every tensor of the files is read or named in an error. What their names mean is `models.decoder.huggingface`'s.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from base.errors import MetrolineError
from base.files import read_object

Shapes = dict[str, tuple[int, ...]]

FLOATS = ("F64", "F32", "F16", "BF16")  # as safetensors names them


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the files that model.safetensors.index.json names. Raises MetrolineError."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        pickled = next(iter(sorted(folder.glob("pytorch_model*.bin"))), None)
        if pickled is not None:
            raise MetrolineError(
                f"{folder} has its weights as {pickled.name}, a pickle, which can run code and is not opened",
                hint="take the model's safetensors files",
            )
        raise MetrolineError(f"{folder} is not a model folder: model.safetensors is missing")
    places = read_object(index, hint="copy it again").get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise MetrolineError(f"{index} has no weight_map of tensors to files")
    files = []
    for name in sorted(set(places.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise MetrolineError(f"{index} names the file {name}, which is not beside it")
        files.append(folder / name)
    return files


def shapes(path: Path) -> Shapes:
    """Name → shape of all tensors of a safetensors file. Raises MetrolineError: damaged or missing."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read_safetensors(
    paths: list[Path], weights: Shapes, besides: Shapes | None = None, optional: frozenset[str] = frozenset()
) -> dict[str, Tensor]:
    """The tensors of all files as float32: `weights`, and of those in `optional` and of `besides` what is there.

    Raises MetrolineError, which names file and tensor: one missing, left over, twice, of another shape or not finite;
    one of the `weights` not of floating-point numbers; a damaged file.
    """
    known = weights | (besides or {})
    places: dict[str, tuple[Path, str]] = {}
    for path in paths:
        with _opened(path) as file:
            for stored in file.keys():  # noqa: SIM118
                # GPT-2's own files leave out the name of the decoder in its class with a head.
                name = f"transformer.{stored}" if f"transformer.{stored}" in known else stored
                if name in places:
                    raise MetrolineError(f"{path}: {stored} is also in {places[name][0].name}")
                places[name] = path, stored
                _check(path, stored, file.get_slice(stored), known.get(name), floats=name in weights)
    missing, extra = sorted(weights.keys() - optional - places.keys()), sorted(places.keys() - known.keys())
    where = str(paths[0] if len(paths) == 1 else paths[0].parent)
    if missing:
        raise MetrolineError(f"{where} lacks {len(missing)} tensors that config.json names: {_few(missing)}")
    if extra:
        raise MetrolineError(f"{where} has {len(extra)} tensors that config.json does not name: {_few(extra)}")
    result: dict[str, Tensor] = {}
    for path in paths:
        with _opened(path) as file:
            for name in (name for name, place in places.items() if place[0] == path):
                stored = places[name][1]
                result[name] = file.get_tensor(stored).float()
                if not torch.isfinite(result[name]).all():
                    raise MetrolineError(
                        f"{path}: {stored} has values that are not finite (NaN or infinity)",
                        hint="copy it again; if it is the same, the model is broken: take another of its checkpoints",
                    )
    return result


def _check(path: Path, stored: str, entry: Any, expected: tuple[int, ...] | None, floats: bool) -> None:
    """A tensor's type and shape, before it is read."""
    if floats and (kind := entry.get_dtype()) not in FLOATS:
        raise MetrolineError(
            f"{path}: {stored} is stored as {kind}, not as one of {', '.join(FLOATS)}",
            hint="take the model's files that are not quantized",
        )
    shape = tuple(entry.get_shape())
    if expected is not None and shape != expected:
        raise MetrolineError(f"{path}: {stored} is {list(shape)}, config.json says {list(expected)}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise MetrolineError(f"{path} is not a whole safetensors file: {error}", hint="copy it again") from None


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
