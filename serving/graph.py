"""The bundle's ONNX graph behind two calls: `prefill` a prompt, `decode` one token.

The key/value cache is one buffer of the whole context. Past and present of ONNX Runtime's GroupQueryAttention are bound
to the same memory, so that a step writes one position and copies nothing. Inputs and outputs are NumPy arrays that
ONNX Runtime reads and writes in place. Not thread-safe: one caller at a time, the engine's thread.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import onnxruntime as ort

from data.errors import MetrolineError
from serving.bundle import Bundle

CHUNK = 256
"""Tokens of a prompt that go through the graph at once: bounds the logits' memory, and how late a cancel is seen.
Chunks begin at fixed positions: int8 scales its activations per call, so the same prompt must be cut the same way."""

SMALL = 16 << 20
"""Bytes of a graph whose steps are too short to be shared between threads: two were a third slower than one
(2.6 M parameters in int8, 0.40 and 0.30 ms a token), while at 25 M they were twice as fast."""

Array = np.ndarray


def threads_for(bundle: Bundle, cores: int) -> int:
    """How many threads serve this bundle best, of those that are there."""
    return 1 if bundle.graph.stat().st_size < SMALL else cores


class Graph:
    """One sequence's worth of model. `logits` of both calls are overwritten by the next call."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load the graph and allocate its cache. Raises MetrolineError when its inputs are not those of a bundle."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between steps take the core that the event loop and the sampler need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(bundle.graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise MetrolineError(f"{bundle.graph}: ONNX Runtime cannot load it: {error}") from None
        self.context, self.vocab_size = bundle.context, bundle.vocab_size
        names = [f"{i}.{part}" for i in range(bundle.layers) for part in ("key", "value")]
        expected = {"input_ids", "seqlens_k", "total_sequence_length", "logits_at"}
        expected |= {f"past_key_values.{name}" for name in names}
        if (found := {value.name for value in self._session.get_inputs()}) != expected:
            raise MetrolineError(f"{bundle.graph}: inputs {sorted(found ^ expected)} are missing or too many")
        shape = (1, bundle.kv_heads, bundle.context, bundle.head_dim)  # [B, Hkv, C, D]
        self._cache = {name: np.zeros(shape, np.float32) for name in names}
        self._seqlens = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._one = np.zeros((1, 1), np.int64)
        self._one_logits = np.zeros((1, self.vocab_size), np.float32)
        self._chunk_logits = np.zeros((min(CHUNK, self.context), self.vocab_size), np.float32)
        self._step = self._bind(self._one, self._one_logits)

    def prefill(self, tokens: list[int]) -> Iterator[Array]:
        """Start a new sequence with `tokens` (1 to context of them).

        Yields the logits [S, V] of each chunk; row i of all of them together predicts the token after tokens[i].
        """
        borders = [*range(0, len(tokens), CHUNK), len(tokens)]
        for start, end in pairwise(borders):
            ids = np.array([tokens[start:end]], np.int64)  # [1, S]
            logits = self._chunk_logits[: end - start]  # [S, V]
            self._seqlens[0], self._total[...] = end - 1, end
            self._session.run_with_iobinding(self._bind(ids, logits))
            yield logits

    def decode(self, token: int, position: int) -> Array:
        """Append `token` at `position` (below the context) and return the logits [V] of the token after it."""
        self._one[0, 0] = token
        self._seqlens[0], self._total[...] = position, position + 1
        self._session.run_with_iobinding(self._step)
        return self._one_logits[0]

    def _bind(self, ids: Array, logits: Array) -> ort.IOBinding:
        """Bind arrays by their addresses; the binding keeps them alive. Logits of all new tokens are asked for."""
        binding = self._session.io_binding()
        value = ort.OrtValue.ortvalue_from_numpy
        binding.bind_ortvalue_input("input_ids", value(ids))
        binding.bind_ortvalue_input("seqlens_k", value(self._seqlens))
        binding.bind_ortvalue_input("total_sequence_length", value(self._total))
        binding.bind_ortvalue_input("logits_at", value(np.arange(ids.size)))
        binding.bind_ortvalue_output("logits", value(logits))
        for name, array in self._cache.items():
            shared = value(array)
            binding.bind_ortvalue_input(f"past_key_values.{name}", shared)
            binding.bind_ortvalue_output(f"present.{name}", shared)
        return binding
