"""Where adapters' matrices lie in the bank that serving hands to a graph, and how they get there.

A base that is exported with `export.adapters` has a layout for each of its forms, in adapters.json and
adapters.safetensors: `Layout.row` makes a row of the bank out of an adapter's matrices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from base.errors import MetrolineError
from base.files import read_object, write_json
from base.manifest import REBUILD
from pipelines.exporting.adapters.operators import BLOCK
from pipelines.exporting.quantize.frames import Frame

FILE, ARRAYS = "adapters.json", "adapters.safetensors"
TURNS = ("turn_in", "turn_out", "turned")

Matrices = tuple[np.ndarray, np.ndarray]
"""A [K, r] and B [r, N] of one layer, float32, r at most the bank's rank; what they add is x A B."""


@dataclass(frozen=True)
class Place:
    """The part of one product: one layer, or several side by side."""

    at: int
    inputs: int
    outputs: tuple[int, ...]
    """Of each layer."""
    rank: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.at + self.rank * (len(self.outputs) * self.inputs + sum(self.outputs))

    @cached_property
    def layer_of(self) -> np.ndarray:
        """Which layer each block of outputs belongs to, int32 [N / 16]."""
        return np.repeat(np.arange(len(self.outputs), dtype=np.int32), [count // BLOCK for count in self.outputs])

    def put(self, row: np.ndarray, layers: Sequence[Matrices | None], frame: Frame | None = None) -> None:
        """Write the layers' matrices into an adapter's row, bfloat16; None: this layer has none."""
        inner = np.zeros((self.inputs, len(self.outputs) * self.rank), np.float32)
        outer = np.zeros((self.rank, sum(self.outputs)), np.float32)
        column = 0
        for number, (matrices, outputs) in enumerate(zip(layers, self.outputs, strict=True)):
            if matrices is not None:
                rank = matrices[0].shape[1]
                inner[:, number * self.rank : number * self.rank + rank] = matrices[0]
                outer[:rank, column : column + outputs] = matrices[1]
            column += outputs
        if frame is not None:
            inner, outer = frame.inner(inner), frame.outer(outer)
        middle = self.at + inner.size
        row[self.at : middle] = _blocks(inner.T).astype(ml_dtypes.bfloat16)
        row[middle : self.end] = _blocks(outer).astype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Slot:
    """A product of a graph that adapters can add to."""

    place: Place
    layers: tuple[str, ...]
    """Their names in the network."""
    frame: Frame


@dataclass(frozen=True)
class Layout:
    """Of all forms of a base."""

    count: int
    """How many adapters a server of it has room for."""
    rank: int
    forms: dict[str, tuple[Slot, ...]] = field(default_factory=dict)

    def size(self, form: str) -> int:
        """Numbers of an adapter in a form's bank."""
        return self.forms[form][-1].place.end

    def row(self, form: str, matrices: Mapping[str, Matrices]) -> np.ndarray:
        """An adapter's row, as the bits of bfloat16: uint16 [size]. `matrices`: by layer; others have none.

        Raises MetrolineError: a layer that no product of the graph holds, a rank above the base's.
        """
        slots = self.forms[form]
        known = {name: slot.place for slot in slots for name in slot.layers}
        for name, (inner, _) in matrices.items():
            if name not in known:
                raise MetrolineError(f"the base has no room for an adapter of {name}", hint="train.adapter.targets")
            if inner.shape[1] > self.rank:
                raise MetrolineError(
                    f"an adapter of rank {inner.shape[1]}, but its base was exported for ranks up to {self.rank}",
                    hint="raise export.adapter_rank of the base, or lower train.adapter.rank",
                )
        row = np.zeros(self.size(form), ml_dtypes.bfloat16)
        for slot in slots:
            slot.place.put(row, [matrices.get(name) for name in slot.layers], slot.frame)
        return row.view(np.uint16)

    def save(self, folder: Path) -> None:
        """Write both files."""
        arrays: dict[str, np.ndarray] = {}
        forms: dict[str, Any] = {}
        for form, slots in self.forms.items():
            forms[form] = []
            for number, slot in enumerate(slots):
                place, frame = slot.place, slot.frame
                turns = {name: getattr(frame, name) for name in TURNS}
                sizes = {"at": place.at, "inputs": place.inputs, "outputs": place.outputs}
                forms[form].append({**sizes, "layers": slot.layers, **turns})
                for name in ("gain", "factor"):
                    if (array := getattr(frame, name)) is not None:
                        arrays[f"{form}.{number}.{name}"] = np.ascontiguousarray(array, np.float32)
        write_json(folder / FILE, {"count": self.count, "rank": self.rank, "forms": forms})
        save_file(arrays, folder / ARRAYS)

    @classmethod
    def load(cls, folder: Path) -> "Layout":
        """Of a verified bundle. Raises MetrolineError: it was exported without adapters."""
        if not (folder / FILE).is_file():
            raise MetrolineError(
                f"{folder} was exported without room for adapters", hint="export: {adapters: 4} in the base's recipe"
            )
        said, arrays = read_object(folder / FILE, hint=REBUILD), load_file(folder / ARRAYS)
        layout = cls(said["count"], said["rank"])
        for form, slots in said["forms"].items():
            layout.forms[form] = tuple(
                Slot(
                    Place(each["at"], each["inputs"], tuple(each["outputs"]), layout.rank),
                    tuple(each["layers"]),
                    Frame(gain=arrays.get(f"{form}.{number}.gain"), factor=arrays.get(f"{form}.{number}.factor"),
                          **{name: each[name] for name in TURNS}),
                )
                for number, each in enumerate(slots)
            )  # fmt: skip
        return layout


def _blocks(matrix: np.ndarray) -> np.ndarray:
    """[ranks, width] in the operators' order, flat."""
    return matrix.reshape(len(matrix), -1, BLOCK).transpose(1, 0, 2).reshape(-1)
