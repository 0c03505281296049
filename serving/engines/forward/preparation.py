"""Raw bytes of a client → the arrays that the graph takes. Runs in threads: Pillow and ONNX Runtime release the lock.

Bytes become arrays by `data.codecs`, which prepare uses too; images are resized by the bundle's pre.onnx, text is
tokenized by its tokenizer.json and padded, to a length that depends on itself alone.
"""

from typing import Any

import numpy as np

from data.codecs import decode
from data.signature import Input, SeriesInput, TableInput, TextInput, VectorInput
from data.text.cut import first_tokens
from data.text.tokenizer import Tokenizer
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.graph import Array, Prepared, session

STEP, PART = 8, 8
"""A text is padded to a multiple of STEP tokens, a longer one to a multiple of a PART of the next power of two: less
than STEP tokens are padding, or an eighth of that power, and a few lengths are so common that texts share batches."""

QUICK = 512
"""Numbers that are read sooner than a thread is woken to read them."""

Raw = Any
"""An input as a client sends it: bytes of a file, a text or its token ids, or a JSON value (or its bytes)."""


class Preparation:
    """Makes items ready. Safe to call from several threads."""

    def __init__(self, bundle: ForwardBundle) -> None:
        self._inputs = bundle.typed.inputs
        kinds = {each.kind for each in self._inputs}
        self._resize = session(bundle.path / "pre.onnx", 1) if "image" in kinds else None
        self._tokenizer = Tokenizer.load(bundle.path / "tokenizer.json") if "text" in kinds else None
        self.at_once = QUICK // max(1, sum(map(_numbers, self._inputs)))
        """So many items may be made ready on the event loop itself: they are a few numbers each."""

    def __call__(self, raw: tuple[Raw, ...]) -> Prepared:
        """One item, an input for each of the signature's. Raises BadItem for what cannot be read."""
        decoded = tuple(decode(each, one, self._tokenizer) for each, one in zip(self._inputs, raw, strict=True))
        arrays = tuple(self._fitted(each, array) for each, array in zip(self._inputs, decoded, strict=True))
        length = next((array.size for each, array in zip(self._inputs, decoded, strict=True)
                       if isinstance(each, TextInput)), 0)  # fmt: skip
        return Prepared(decoded, arrays, length)

    def cut(self, text: str, most: int) -> str:
        """The first `most` tokens of a text."""
        assert self._tokenizer
        return first_tokens(text, most, self._tokenizer)

    def _fitted(self, declared: Input, array: Array) -> Array:
        if declared.kind == "image":
            assert self._resize
            (resized,) = self._resize.run(None, {self._resize.get_inputs()[0].name: array[None]})
            return np.asarray(resized[0])
        if isinstance(declared, TextInput):
            free = not declared.shape or declared.shape[0] == -1
            size = min(declared.length, padded_length(array.size)) if free else declared.shape[0]
            return np.pad(array, (0, size - array.size))
        return array


def padded_length(tokens: int) -> int:
    """How long a text of so many tokens is with its padding; by itself alone, or its bits would depend on others."""
    step = max(STEP, (1 << (tokens - 1).bit_length()) // PART)
    return -(-tokens // step) * step


def _numbers(declared: Input) -> int:
    """How many numbers an item of this input has; more than are ever quick where it is no list of numbers."""
    if isinstance(declared, TableInput):
        return len(declared.columns)
    if isinstance(declared, SeriesInput):
        return declared.context * len(declared.channels)
    if isinstance(declared, VectorInput):
        free = not declared.shape or declared.shape[0] < 0
        return len(declared.names) or (QUICK + 1 if free else declared.shape[0])
    return QUICK + 1
