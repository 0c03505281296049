"""A GGUF file: its metadata and its tensors, dequantized to float32. NumPy only; nothing of a file is ever executed.

    with GgufFile(Path("model.gguf")) as file:
        file.metadata["general.architecture"], file.shapes["token_embd.weight"]
        weights = file.tensor("token_embd.weight")           # float32, rows first

The names of types and the arithmetic of quantized blocks are the `gguf` package's. The walk over the header is our own,
because that package's reader trusts the file: a damaged count makes it loop for ever, and a cut-off value comes back
short. What the tensors mean is `models.decoder.gguf`'s, what the tokenizer's keys mean `data.text.gguf_tokenizer`'s.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import MetrolineError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32  # bytes, where the metadata names no other
STRING, ARRAY = 8, 9
SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
DIMENSIONS = 4  # most that ggml knows
OTHER_TYPES = "take a file of the model in Q8_0, Q4_0, Q4_K, F16 or BF16"


@dataclass(frozen=True, slots=True)
class _Tensor:
    kind: int
    """Number of the GGML quantization type."""
    shape: tuple[int, ...]
    """Rows first, as in NumPy (the file has them the other way round)."""
    start: int
    """Its first byte in the file."""
    size: int
    """Its bytes."""


class _Damaged(Exception):
    """The bytes are not a GGUF header; the message says how."""


class GgufFile:
    """An open file. Its header is read and checked at once, a tensor when it is asked for.

    Raises MetrolineError for a file that is missing, no GGUF, cut off, damaged, or quantized in an unknown way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: it is empty
            raise MetrolineError(f"cannot read {path}: {error}") from None
        self.metadata: dict[str, Any] = {}
        self._tensors: dict[str, _Tensor] = {}
        try:
            self._read_header()
        except _Damaged as error:
            self.close()
            raise MetrolineError(f"{path} is not a whole GGUF file: {error}", hint="fetch or copy it again") from None
        except MetrolineError:
            self.close()
            raise

    def __enter__(self) -> "GgufFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. Tensors that were read stay valid."""
        self._bytes.close()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, rows first, in the file's order."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor as float32, a copy. Raises MetrolineError: quantized in a way that has no arithmetic here, NaN."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

        entry = self._tensors[name]
        kind = GGMLQuantizationType(entry.kind)
        block, block_bytes = GGML_QUANT_SIZES[kind]
        raw = np.frombuffer(self._bytes[entry.start : entry.start + entry.size], np.uint8)
        rows = raw.reshape(*entry.shape[:-1], entry.shape[-1] // block * block_bytes)
        try:
            values = np.array(dequantize(rows, kind), dtype=np.float32).reshape(entry.shape)
        except NotImplementedError:
            raise MetrolineError(
                f"{self.path}: {name} is of type {kind.name}, which cannot be dequantized here",
                hint=OTHER_TYPES,
            ) from None
        if not np.isfinite(values).all():
            raise MetrolineError(f"{self.path}: {name} has values that are not finite", hint="fetch or copy it again")
        return values

    def _read_header(self) -> None:
        self._at = 0
        if self._take(4) != MAGIC:
            raise _Damaged("it does not begin with GGUF")
        version = self._number("<I")
        if version not in VERSIONS:
            raise MetrolineError(
                f"{self.path}: GGUF version {version} is not supported", hint="only 2 and 3, little-endian"
            )
        tensors, entries = self._number("<Q"), self._number("<Q")
        for _ in range(entries):  # each takes bytes, so a wrong count ends at the end of the file
            key = self._string()
            if key in self.metadata:
                raise _Damaged(f"{key} occurs twice")
            self.metadata[key] = self._value(self._number("<I"), key)
        infos = [self._tensor_info() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _Damaged(f"general.alignment is {alignment!r}")
        data = -(-self._at // alignment) * alignment
        for name, kind, shape, offset in infos:
            if name in self._tensors:
                raise _Damaged(f"the tensor {name} occurs twice")
            size = self._size(name, kind, shape)
            if data + offset + size > len(self._bytes):
                raise _Damaged(f"{name} ends at byte {data + offset + size:,}, the file has {len(self._bytes):,}")
            self._tensors[name] = _Tensor(kind, shape, data + offset, size)

    def _tensor_info(self) -> tuple[str, int, tuple[int, ...], int]:
        """name, type, shape, offset behind the header."""
        name, dimensions = self._string(), self._number("<I")
        if not 1 <= dimensions <= DIMENSIONS:
            raise _Damaged(f"the tensor {name[:80]!r} has {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        return name, self._number("<I"), shape, self._number("<Q")

    def _size(self, name: str, kind: int, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise MetrolineError(
                f"{self.path}: {name} is of type {kind}, which the installed package `gguf` does not know",
                hint=f"pip install --upgrade gguf, or {OTHER_TYPES}",
            ) from None
        count = 1
        for length in shape:
            count *= length  # Python's integers do not overflow
        if not count or shape[-1] % block:
            raise _Damaged(f"{name} has the shape {list(shape)}")
        return count // block * block_bytes

    def _value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self._string()
        if kind in SCALARS:
            return np.frombuffer(self._take(np.dtype(SCALARS[kind]).itemsize), SCALARS[kind])[0].item()
        if kind != ARRAY:
            raise _Damaged(f"{key[:80]!r} is of the unknown type {kind}")
        inner, count = self._number("<I"), self._number("<Q")
        if inner in SCALARS:
            return np.frombuffer(self._take(count * np.dtype(SCALARS[inner]).itemsize), SCALARS[inner]).tolist()
        if inner == STRING:
            return [self._string() for _ in range(count)]
        raise _Damaged(f"{key[:80]!r} is an array of the type {inner}")

    def _string(self) -> str:
        data = self._take(self._number("<Q"))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise _Damaged(f"no UTF-8 before byte {self._at:,}") from None

    def _number(self, layout: str) -> int:
        return int(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def _take(self, count: int) -> bytes:
        if count > len(self._bytes) - self._at:
            raise _Damaged(f"cut off at byte {len(self._bytes):,}")
        self._at += count
        return self._bytes[self._at - count : self._at]
