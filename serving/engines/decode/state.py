"""The bundle's ONNX graph of a model with a state of fixed size (recurrent, windowed), behind `graph.Graph`'s calls.

The graph takes one token of each row and the rows' states; a slot is a row of each state array. A state cannot be cut
back to a part of its text: no beginnings of prompts are shared, no tokens are guessed. Not thread-safe, as `Graph`.
"""

from typing import Any

import numpy as np
import onnxruntime as ort

from base.errors import MetrolineError
from serving.engines.decode.bundle import DecoderBundle

Array = np.ndarray


class States:
    """States of all slots, `arrays[name]` [slots, ...] float32."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], slots: int) -> None:
        self.arrays = {name: np.zeros((slots, *shape), np.float32) for name, shape in shapes.items()}
        self.reserved = sum(array.nbytes for array in self.arrays.values())
        """Bytes of memory."""

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy a slot to another one; a state is that of all its tokens."""
        for array in self.arrays.values():
            array[target] = array[source]

    def release(self, slot: int, kept: int = 0) -> None:
        """A slot's memory is too small to be given back."""

    def clear(self, slot: int) -> None:
        """The state before a text's first token."""
        for array in self.arrays.values():
            array[slot] = 0


class StateGraph:
    """The model. Has what the engine asks of `graph.Graph`."""

    native = False
    rewinds = False
    bank = None
    """Such graphs have no room for adapters."""

    def __init__(self, bundle: DecoderBundle, threads: int, slots: int = 1, native: bool = True) -> None:
        """Load the graph and make room for the states of `slots` sequences. There are no kernels of ours for it.

        Raises MetrolineError when ONNX Runtime cannot load it, or its inputs are not those of a bundle.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(bundle.graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise MetrolineError(f"{bundle.graph}: ONNX Runtime cannot load it: {error}") from None
        self.context, self.vocab_size, self.slots = bundle.context, bundle.vocab_size, slots
        self.cache = States(_shapes(bundle, self._session.get_inputs(), self._session.get_outputs()), slots)

    def warm_up(self) -> None:
        """Run both calls once, so that the first request finds everything in place. It overwrites slot 0."""
        self.extend(0, np.zeros(1, np.int64), 0, np.zeros(1, np.int64))
        self.decode(0, [0] * self.slots, [1] * self.slots)

    def decode(self, first: int, tokens: list[int], positions: list[int], adapters: list[int] | None = None) -> Array:
        """Put one token into each of the slots from `first` on; the state of a slot whose token is negative stays.

        Returns logits [B, V] of the tokens that follow. `positions` are a key/value cache's matter, `adapters` too.
        """
        rows = np.arange(first, first + len(tokens))
        live = np.array(tokens) >= 0
        logits, after = self._run(
            np.maximum(tokens, 0), {name: array[rows] for name, array in self.cache.arrays.items()}
        )
        for name, array in self.cache.arrays.items():
            array[rows[live]] = after[name][live]
        return logits

    def extend(self, slot: int, tokens: Array, start: int, rows: Array, adapter: int = 0) -> Array:
        """Put `tokens` [S] into a slot, which is made empty first when `start` is 0.

        Returns logits [len(rows), V] of the tokens that follow those at `rows` of `tokens`.
        """
        if start == 0:
            self.cache.clear(slot)
        state = {name: array[slot : slot + 1] for name, array in self.cache.arrays.items()}
        found = np.empty((len(rows), self.vocab_size), np.float32)
        for at, token in enumerate(tokens):
            logits, state = self._run(np.array([token]), state)
            found[rows == at] = logits[0]
        for name, array in self.cache.arrays.items():
            array[slot] = state[name][0]
        return found

    def _run(self, tokens: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """One step of rows [B] → logits [B, V] and the states after it."""
        feeds = {"input_ids": tokens.astype(np.int64), **{f"state.{name}": array for name, array in state.items()}}
        logits, *after = self._session.run(["logits", *(f"next_state.{name}" for name in state)], feeds)
        return logits, dict(zip(state, after, strict=True))


def _shapes(bundle: DecoderBundle, inputs: list[Any], outputs: list[Any]) -> dict[str, tuple[int, ...]]:
    """Each state's shape without the batch, by its number. Raises MetrolineError: not the inputs of such a graph."""
    shapes = {value.name: value.shape for value in inputs}
    names = [str(i) for i in range(len(shapes) - 1)]
    expected = {"input_ids", *(f"state.{name}" for name in names)}
    if set(shapes) != expected:
        raise MetrolineError(f"{bundle.graph}: inputs {sorted(set(shapes) ^ expected)} are missing or too many")
    expected = {"logits", *(f"next_state.{name}" for name in names)}
    if (found := {value.name for value in outputs}) != expected:
        raise MetrolineError(f"{bundle.graph}: outputs {sorted(found ^ expected)} are missing or too many")
    return {name: tuple(shapes[f"state.{name}"][1:]) for name in names}
