"""The bundle's ONNX graph over the key/value cache, behind two calls.

`extend` puts several new tokens of one sequence into the cache (a chunk of a prompt, or a guess that is to be checked),
`decode` one new token for each of a range of slots. ONNX Runtime's GroupQueryAttention takes several new tokens over a
cache that is not empty only in a batch of one; hence two. Past and present are bound to the same memory, a view of the
whole cache by its address: a step writes its own positions and copies nothing. Bindings are kept, one for each range of
slots. Not thread-safe: one caller at a time, the engine's thread.
"""

import os
from typing import Any

import numpy as np
import onnxruntime as ort

from base.errors import MetrolineError
from base.processor import saturates
from serving.engines.decode.adapters import Bank
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.cache import KeyValueCache, Part
from serving.native import register

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}

Array = np.ndarray


class Graph:
    """The model. The logits that both calls return are overwritten by the next call of the same kind."""

    rewinds = True
    """Tokens can be taken back, and a slot's first tokens stand for themselves: guessing and shared beginnings work."""

    def __init__(self, bundle: DecoderBundle, threads: int, slots: int = 1, native: bool = True) -> None:
        """Load the graph and reserve a cache for `slots` sequences of the model's whole context.

        `native`: run a quantized graph's operators by the C kernels, where these are built.
        Raises MetrolineError when ONNX Runtime cannot load it, or its inputs are not those of a bundle.
        """
        # Its tiled attention takes twice as long over prompts, and may share one row's sum between threads by how many
        # rows there are, which would make a row's last bits depend on its neighbours.
        os.environ.setdefault("ORT_GQA_DISABLE_FLASH_ATTENTION", "1")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        # Waking threads for each product costs as much as small products do; but threads that spin between steps take
        # the core that the event loop and the sampler need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.native = native and (bundle.precision != "fp32" or bundle.adapters > 0) and register(options)
        try:
            self._session = ort.InferenceSession(str(bundle.graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise MetrolineError(f"{bundle.graph}: ONNX Runtime cannot load it: {error}") from None
        self.context, self.vocab_size, self.slots = bundle.context, bundle.vocab_size, slots
        inputs = {value.name: value for value in self._session.get_inputs()}
        parts = _parts(bundle, inputs)
        self.bank = Bank(bundle.adapters, inputs["adapters"].shape[1]) if bundle.adapters else None
        """The weights of adapters; None: the graph has no room for any."""
        self._adapters = np.zeros(slots, np.int32)
        self._adapter = np.zeros(1, np.int32)
        self.cache = KeyValueCache(parts, slots, bundle.context)
        self._quantized = bundle.precision != "fp32"
        self._tokens = np.zeros((slots, 1), np.int64)
        self._lengths = np.zeros(slots, np.int32)
        self._total = np.zeros((), np.int32)
        self._rows = np.arange(slots)
        self._logits = np.zeros((slots, self.vocab_size), np.float32)
        self._steps: dict[tuple[int, int], ort.IOBinding] = {}
        self._extends: dict[int, ort.IOBinding] = {}
        self._shrinking = ort.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def warm_up(self) -> None:
        """Run both calls once, so that the first request finds everything in place. It overwrites slot 0."""
        nought = np.zeros(min(8, self.context), np.int64)
        self.extend(0, nought, 0, nought[:1])
        self.decode(0, [0] * self.slots, [0] * self.slots)

    def decode(self, first: int, tokens: list[int], positions: list[int], adapters: list[int] | None = None) -> Array:
        """Put one token into each of the slots from `first` on, at `positions` [B], all below the context.

        A negative token: it is nobody's turn; what is then written at its position is overwritten later. `adapters`
        [B]: rows of the bank, where there is one; None: the base alone.

        Returns logits [B, V] of the tokens that follow.
        """
        count = len(tokens)
        binding = self._steps.get((first, count))
        if binding is None:
            binding = self._bind(first, count, self._adapters[:count])
            for name, array in (("input_ids", self._tokens), ("seqlens_k", self._lengths), ("logits_at", self._rows)):
                binding.bind_ortvalue_input(name, _shared(array[:count]))
            binding.bind_ortvalue_output("logits", _shared(self._logits[:count]))
            self._steps[first, count] = binding
        np.maximum(tokens, 0, out=self._tokens[:count, 0])
        self._lengths[:count] = positions
        self._total[...] = max(positions) + 1
        if self.bank:
            self._adapters[:count] = adapters or 0
        self._session.run_with_iobinding(binding)
        return self._logits[:count]

    def extend(self, slot: int, tokens: Array, start: int, rows: Array, adapter: int = 0) -> Array:
        """Put `tokens` [S] into a slot from position `start` on; start + S is at most the context. `adapter`: a row of
        the bank.

        Returns logits [len(rows), V] of the tokens that follow those at `rows` of `tokens`.
        """
        binding = self._extends.get(slot)
        if binding is None:
            binding = self._extends[slot] = self._bind(slot, 1, self._adapter)
        self._adapter[0] = adapter
        end, wanted = start + len(tokens), len(rows)
        if not wanted and self._quantized:  # their kernels take no empty batch
            rows = np.zeros(1, np.int64)
        many = len(rows) > self.slots
        logits = np.empty((len(rows), self.vocab_size), np.float32) if many else self._logits[: len(rows)]
        inputs: dict[str, Array] = {  # held here until the call is over
            "input_ids": tokens.astype(np.int64)[None],
            "seqlens_k": np.array([end - 1], np.int32),
            "logits_at": rows.astype(np.int64),
        }
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, _shared(array))
        binding.bind_ortvalue_output("logits", _shared(logits))
        self._total[...] = end
        if many:  # tens of megabytes, for a moment: neither ONNX Runtime nor the binding may keep them
            self._session.run_with_iobinding(binding, self._shrinking)
            binding.bind_ortvalue_output("logits", _shared(self._logits[:1]))
        else:
            self._session.run_with_iobinding(binding)
        return logits[:wanted]

    def _bind(self, first: int, count: int, adapters: Array) -> ort.IOBinding:
        """Bind a range of slots; the binding keeps the memory alive. `adapters` [count]: the memory that says which."""
        binding = self._session.io_binding()
        if self.bank:
            binding.bind_ortvalue_input("adapters", self.bank.shared())
            binding.bind_ortvalue_input("adapter", _shared(adapters))
        binding.bind_ortvalue_input("total_sequence_length", _shared(self._total))
        for name, array in self.cache.arrays.items():
            value = _shared(array[first : first + count])
            binding.bind_ortvalue_input(f"past_key_values.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        return binding


def _shared(array: Array) -> ort.OrtValue:
    """The array's own memory, which ONNX Runtime reads and writes; it must be contiguous."""
    return ort.OrtValue.ortvalue_from_numpy(array)


def _parts(bundle: DecoderBundle, found: dict[str, Any]) -> dict[str, Part]:
    """The cache's parts by name, from the graph's inputs [batch, heads, past, width]."""
    names = [f"{i}.{part}" for i in range(bundle.layers) for part in ("key", "value")]
    expected = {"input_ids", "seqlens_k", "total_sequence_length", "logits_at"}
    expected |= {f"past_key_values.{name}" for name in names} | ({"adapters", "adapter"} if bundle.adapters else set())
    if set(found) != expected:
        raise MetrolineError(f"{bundle.graph}: inputs {sorted(set(found) ^ expected)} are missing or too many")
    parts = {}
    for name in names:
        value = found[f"past_key_values.{name}"]
        if value.type not in TYPES:
            raise MetrolineError(
                f"{bundle.graph}: {value.name} has the type {value.type}", hint=f"one of {list(TYPES)}"
            )
        heads, width = value.shape[1], value.shape[3]
        parts[name] = (
            heads if isinstance(heads, int) else bundle.kv_heads,
            width if isinstance(width, int) else bundle.head_dim,
            np.dtype(TYPES[value.type]),
        )
    return parts
