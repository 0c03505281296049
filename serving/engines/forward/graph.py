"""The bundle's ONNX graph behind one call: decoded items in, their outputs out, the same bits in any company.

The sum of a matrix product may be taken in another order when the batch has another size, and a graph that is quantized
with a range for the whole batch gives a row what its neighbours make of it. So at the start the graph is run on the
golden items, with strangers between them, in each of `SIZES`; only sizes that give every row the same bits are used,
and a batch is filled up to one of them. Where none agree, items run one by one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from base.errors import MetrolineError
from data.boxes import finished
from data.signature import Input, Signature, TextInput
from serving.native import register

SIZES = (1, 2, 4, 8, 16, 32)
"""Batches that are run; the last one is the largest."""
ELEMENTS = 5_000_000
"""Numbers that go in and come out in one batch, at most, unless it is of one item: large images gain nothing."""
TOKENS = 2048
"""Tokens of texts in one batch, their padding among them, at most, unless it is of one item. Longer batches are no
faster, and who comes next waits for them."""
PROBES, SHAPES = 2, 3
"""Golden items of a shape with which the sizes are tried; shapes of texts, from the shortest to the longest."""
SHORT, SHORT_PROBES = 8, 8
"""Tokens to which golden texts are cut, since only of short ones are there batches of every size; items of that shape,
which cost little, with which the sizes are tried."""
LENGTHS = "lengths"
"""The graph's input int64 [B] that says how many tokens of each text are no padding."""

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Prepared:
    """An item as the graph takes it, without the batch."""

    decoded: tuple[Array, ...]
    """Before padding or resizing: what drift is judged by."""
    arrays: tuple[Array, ...]
    length: int = 0
    """Tokens of its text."""

    @property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """Items of equal shape may share a batch."""
        return tuple(array.shape for array in self.arrays)

    @property
    def tokens(self) -> int:
        """Tokens that the graph reads of its texts, their padding among them; 0: it has none."""
        return sum(array.size for array in self.arrays) if self.length else 0


class ForwardGraph:
    """The model. Once it is settled `run` may be called from several threads."""

    def __init__(self, path: Path, signature: Signature, threads: int) -> None:
        """Raises MetrolineError: ONNX Runtime cannot load it, or it has not the signature's inputs and outputs."""
        self._session = session(path, threads)
        given = [value.name for value in self._session.get_inputs()]
        self._lengths = LENGTHS in given and LENGTHS not in {each.name for each in signature.inputs}
        self._names = [name for name in given if name != LENGTHS or not self._lengths]
        self._signature = signature
        self._limits = tuple(_largest(each) for each in signature.inputs)
        made = self._session.get_outputs()
        if len(self._names) != len(signature.inputs) or len(made) != len(signature.outputs):
            raise MetrolineError(
                f"{path}: {len(self._names)} inputs and {len(made)} outputs, but the signature has "
                f"{len(signature.inputs)} and {len(signature.outputs)}", hint="export the model again",
            )  # fmt: skip
        numbers = sum(abs(math.prod(each.shape)) for each in (*signature.inputs, *signature.outputs))
        self.tried = tuple(size for size in SIZES if size == 1 or size * numbers <= ELEMENTS)
        self.sizes: tuple[int, ...] = self.tried

    @property
    def largest(self) -> int:
        """Items in one call, at most."""
        return self.sizes[-1]

    def room(self, item: Prepared) -> int:
        """Items like this one in one call, at most: the largest batch of no more than TOKENS tokens."""
        return self._fitting(item, self.sizes)[-1]

    def _fitting(self, item: Prepared, sizes: Sequence[int]) -> Sequence[int]:
        """Those of the sizes that give no more tokens than TOKENS; the smallest where none does."""
        return [size for size in sizes if size * item.tokens <= TOKENS] or sizes[:1]

    def run(self, items: Sequence[Prepared]) -> list[tuple[Array, ...]]:
        """Outputs of each item, in order, boxes in pixels of its image. All of one shape, `largest` at most."""
        size = next(size for size in self.sizes if size >= len(items))
        rows = self._call([*items, *[items[-1]] * (size - len(items))])
        return [finished(self._signature, item.decoded, row) for item, row in zip(items, rows, strict=False)]

    def settle(self, items: Sequence[Prepared]) -> None:
        """Find the sizes that give each of these items the same bits, whoever its neighbours are."""
        items = [*items, *filter(None, map(self._short, items))]
        probes: dict[tuple[tuple[int, ...], ...], list[Prepared]] = {}
        for item in items:
            probes.setdefault(item.shape, []).append(item)
        kept, shapes = set(self.tried), sorted(probes, key=lambda shape: probes[shape][0].tokens)
        for place in sorted({round(part * (len(shapes) - 1) / max(1, SHAPES - 1)) for part in range(SHAPES)}):
            group = probes[shapes[place]]
            for item in group[: SHORT_PROBES if 0 < group[0].tokens <= SHORT * len(self._names) else PROBES]:
                sizes = self._fitting(item, self.tried)
                kept -= set(sizes) - set(self._agreeing(item, [*_strangers(item, self._limits), *group], sizes))
        if len(kept) > 1 and 1 in kept and not all(self._same_alone(item, min(kept - {1})) for item in items):
            kept -= {1}
        self.sizes = tuple(sorted(kept)) or (1,)

    def _short(self, item: Prepared) -> Prepared | None:
        """An item with the beginnings of its texts; None: they may not be cut, or are as short."""
        texts = [isinstance(each, TextInput) and each.shape in ((), (-1,)) for each in self._signature.inputs]
        if not any(texts) or any(isinstance(each, TextInput) and each.mask for each in self._signature.inputs):
            return None
        arrays = tuple(array[:SHORT] if text else array for array, text in zip(item.arrays, texts, strict=True))
        short = Prepared(item.decoded, arrays, min(item.length, SHORT))
        return short if short.shape != item.shape else None

    def _same_alone(self, item: Prepared, size: int) -> bool:
        """Whether an item has equal bits alone and in a batch of the next size. All items are asked: a product of one
        row is another algorithm, and the two scores of two labels may agree by luck."""
        return _bits(self._call([item])[0]) == _bits(self._call([item] * size)[0])

    def _agreeing(self, item: Prepared, others: Sequence[Prepared], sizes: Sequence[int]) -> list[int]:
        """The most of these sizes that give this item equal bits, among its like and at both ends of a batch."""
        found: dict[bytes, list[int]] = {}
        for size in sizes:
            alike = {_bits(row) for row in self._call([item] * size)}
            for known in (others, others[::-1])[: 2 if size == 4 else 1] if size > 2 else ():  # four: strangers or like
                mixed = self._call([item, *(known[place % len(known)] for place in range(size - 2)), item])
                alike |= {_bits(mixed[0]), _bits(mixed[-1])}
            if size == 2:
                alike |= {_bits(self._call([item, other])[0]) for other in (*others[:2], *others[-2:])}
            if len(alike) == 1:
                found.setdefault(alike.pop(), []).append(size)
        return max(found.values(), key=lambda sizes: (len(sizes), sizes[-1]))

    def _call(self, items: Sequence[Prepared]) -> list[tuple[Array, ...]]:
        feeds = {name: np.stack([item.arrays[i] for item in items]) for i, name in enumerate(self._names)}
        if self._lengths:
            feeds[LENGTHS] = np.array([item.length for item in items], np.int64)
        outputs = self._session.run(None, feeds)
        return [tuple(output[row] for output in outputs) for row in range(len(items))]


_sessions: WeakValueDictionary[tuple[int, ...], ort.InferenceSession] = WeakValueDictionary()
"""The file and number of threads → the session that runs it: releases that share a file share its memory too."""


def session(path: Path, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU, which several threads may run at once. Raises MetrolineError."""
    try:
        stat = path.stat()
        key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, threads)
        if (known := _sessions.get(key)) is not None:
            return known
        made = _sessions[key] = _session(path, threads)
    except OSError as error:
        raise MetrolineError(f"{path}: {error.strerror}") from None
    return made


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    register(options)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common public base
        raise MetrolineError(f"{path}: ONNX Runtime cannot load it: {error}") from None


def _bits(row: tuple[Array, ...]) -> bytes:
    return b"".join(array.tobytes() for array in row)


def _largest(input_: Input) -> Array:
    """What no value of an input may exceed: of a table's categories the last code."""
    if input_.kind != "table":
        return np.array(np.inf, np.float32)
    most = [len(each.categories) if each.kind == "category" else np.inf for each in input_.columns]
    return np.array(most, np.float32)


def _strangers(item: Prepared, limits: Sequence[Array]) -> tuple[Prepared, Prepared]:
    """Two items of the same shape, as far from it as its datatype and the inputs' largest values let them be."""
    nought = tuple(np.zeros_like(array) for array in item.arrays)
    far = tuple(
        np.full_like(array, 255) if array.dtype == np.uint8
        else array[::-1].copy() if array.dtype.kind == "i"
        else np.minimum(np.nan_to_num(array) * 8 + 1, limit).astype(array.dtype)
        for array, limit in zip(item.arrays, limits, strict=True)
    )  # fmt: skip
    return Prepared((), nought, max(1, item.length)), Prepared((), far, item.length)
