"""llama.cpp's side of `benchmarks/serving.py`: a script for the Python that has llama-cpp-python, which is not ours.

    python benchmarks/_serving_llama.py MODEL.gguf [THREADS]     # prints one JSON line for each quantization, then ends

It uses llama.cpp's own interface through ctypes, without the slower Python wrapper's sampling: greedy decoding of one
stream, of 16 sequences in one batch, and a prompt of 512 tokens. The file itself is measured, and what llama.cpp's own
quantizer makes of it (Q4_0, Q8_0). It imports nothing of Metroline.
"""

import ctypes
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import llama_cpp as llama  # type: ignore[import-not-found,unused-ignore] # installed with the peer, not with us
import numpy as np

STEPS, STREAMS, PROMPT, PREFILL, REPEATS = 48, 16, 64, 512, 5
KINDS = {"Q4_0": 2, "Q8_0": 7}  # LLAMA_FTYPE_MOSTLY_*


def quantized(source: Path, kind: int, target: Path) -> Path:
    """Let llama.cpp quantize `source` again."""
    options = llama.llama_model_quantize_default_params()
    options.ftype, options.allow_requantize, options.nthread = kind, True, 2
    if llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options)):
        raise SystemExit(f"llama.cpp could not quantize {source}")
    return target


class Model:
    """A loaded file with one context for all measurements."""

    def __init__(self, path: Path, threads: int) -> None:
        self.model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        options = llama.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = STREAMS * 512, PREFILL, PREFILL
        options.n_seq_max, options.n_threads, options.n_threads_batch = STREAMS, threads, threads
        self.context = llama.llama_init_from_model(self.model, options)
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(PREFILL, 0, 1)

    def feed(self, tokens: list[tuple[int, int, int]], wanted: int) -> None:
        """Decode (token, position, sequence) triples; logits for the last `wanted`."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = i >= len(tokens) - wanted
        if llama.llama_decode(self.context, batch):
            raise SystemExit("llama_decode failed")

    def best(self, row: int) -> int:
        """The likeliest token after the batch's token `row`."""
        return int(np.ctypeslib.as_array(llama.llama_get_logits_ith(self.context, row), (self.vocabulary,)).argmax())

    def decode(self, streams: int) -> float:
        """Tokens per second of `streams` greedy sequences together."""
        llama.llama_memory_clear(self.memory, True)
        for sequence in range(streams):
            self.feed([(100 + 7 * sequence + position, position, sequence) for position in range(PROMPT)], 1)
        tokens = [200 + sequence for sequence in range(streams)]
        started = 0.0
        for step in range(STEPS + 2):
            if step == 2:
                started = time.perf_counter()
            self.feed([(tokens[sequence], PROMPT + step, sequence) for sequence in range(streams)], streams)
            tokens = [self.best(row) for row in range(streams)]
        return streams * STEPS / (time.perf_counter() - started)

    def prefill(self) -> float:
        """Tokens per second of a prompt."""
        llama.llama_memory_clear(self.memory, True)
        started = time.perf_counter()
        self.feed([(100 + position, position, 0) for position in range(PREFILL)], 1)
        self.best(PREFILL - 1)
        return PREFILL / (time.perf_counter() - started)


def main() -> None:
    """Measure the file and what is quantized from it: the best of several runs of each."""
    source, threads = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    with tempfile.TemporaryDirectory() as folder:
        files = {source.stem.rsplit(".", 1)[-1]: source}
        files |= {name: quantized(source, kind, Path(folder) / f"{name}.gguf") for name, kind in KINDS.items()}
        for name, path in files.items():
            model = Model(path, threads)
            model.prefill()
            found = {
                "one": max(model.decode(1) for _ in range(REPEATS)),
                "many": max(model.decode(STREAMS) for _ in range(REPEATS)),
                "prefill": max(model.prefill() for _ in range(REPEATS)),
                "megabytes": os.path.getsize(path) / 1e6,
            }
            rounded = {key: round(value, 1) for key, value in found.items()}
            print(json.dumps({"quantization": name, **rounded, "version": llama.__version__}), flush=True)


if __name__ == "__main__":
    main()
