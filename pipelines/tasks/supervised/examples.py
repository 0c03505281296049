"""The examples of a split, decoded once: the arrays that a network is given, and targets."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from data.codecs import decode
from data.records import Records
from data.signature import AudioInput, ImageInput, Signature
from data.text.tokenizer import Tokenizer


class Examples:
    """One split, or `most` examples of it (see `some`). Raises MetrolineError: not prepared, damaged."""

    def __init__(self, prepared: Path, split: str, most: int | None = None) -> None:
        self.records = Records(prepared, split)
        self.index: dict[str, Any] = dict(self.records.index)
        self.signature = Signature.model_validate(self.index["signature"])
        self.places = some(len(self.records), most)
        self.targets = np.asarray(self.records.targets)[self.places]
        kind = self.signature.inputs[0].kind
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json") if kind == "text" else None
        self.inputs = self._decoded(prepared)

    def __len__(self) -> int:
        return len(self.targets)

    def raw(self, number: int) -> tuple[bytes, ...]:
        """An example as a client would send it."""
        return self.records.inputs(int(self.places[number]))

    def group(self, name: str) -> list[str]:
        """What is noted about each example under a name; empty where nothing is."""
        return [str(self.records.meta(number).get(name, "")) for number in self.places.tolist()]

    def place(self, numbers: Sequence[int]) -> str:
        """Where examples came from, the first few."""
        few = ", ".join(self.records.id(int(self.places[number])) for number in numbers[:4])
        return f"{len(numbers)} {self.records.split} examples: {few}{', …' if len(numbers) > 4 else ''}"

    def decode(self, raw: bytes) -> NDArray[Any]:
        """One input as serving decodes it: an image in its own size, text as long as it is."""
        declared = self.signature.inputs[0]
        return decode(declared, raw, self.tokenizer)

    def _decoded(self, prepared: Path) -> NDArray[Any]:
        declared = self.signature.inputs[0]
        raws = (self.records.inputs(number)[0] for number in self.places.tolist())
        if self.tokenizer is not None:
            return padded(self.tokenizer.encode_batch([raw.decode() for raw in raws]))  # all of it at once is faster
        arrays = [decode(declared, raw) for raw in raws]
        if isinstance(declared, ImageInput):
            arrays = resized(declared, arrays)
        if isinstance(declared, AudioInput):
            arrays = [heard(array, int(self.index["fitted"]["samples"])) for array in arrays]
        if not arrays:
            return np.zeros((0, 1), np.float32)
        try:
            return np.stack(arrays)
        except ValueError:
            raise MetrolineError(f"{prepared}: inputs of {self.records.split} differ in shape") from None


def of_training(prepared: Path) -> tuple[Examples, Examples]:
    """The splits `train` and `valid`, decoded once in a process for all runs on the same prepared data."""
    changed = (prepared / "index.json").stat().st_mtime_ns if (prepared / "index.json").is_file() else 0
    return _decoded_once(prepared, changed)


@lru_cache(maxsize=1)
def _decoded_once(prepared: Path, changed: int) -> tuple[Examples, Examples]:
    return Examples(prepared, "train"), Examples(prepared, "valid")


def some(count: int, most: int | None = None) -> NDArray[np.int64]:
    """Places of at most so many of `count` examples, in order, drawn at random but always the same: files often lie
    sorted by label, so the first ones would be of few. None: all."""
    if most is None or most >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def padded(rows: list[list[int]]) -> NDArray[np.int64]:
    """Token rows → int64 [rows, longest], zeros behind the end of each."""
    found = np.zeros((len(rows), max([1, *map(len, rows)])), np.int64)
    for place, row in zip(found, rows, strict=True):
        place[: len(row)] = row
    return found


def heard(clip: NDArray[Any], samples: int) -> NDArray[Any]:
    """A clip → as many samples as the network hears, silent behind: what the graph makes of it too."""
    return np.pad(clip[:samples], (0, max(0, samples - len(clip))))


def resized(declared: ImageInput, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Images of any size → the size that the network sees, by the graph that also serves (`Resize`)."""
    size = (declared.height, declared.width)
    if all(array.shape[:2] == size for array in arrays):
        return arrays
    import torch

    from models.common.resize import Resize

    resize = Resize(*size)
    with torch.no_grad():
        return [
            array if array.shape[:2] == size else resize(torch.from_numpy(array.copy())[None])[0].numpy()
            for array in arrays
        ]
