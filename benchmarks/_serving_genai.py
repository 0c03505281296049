"""The side of `onnxruntime-genai` in `benchmarks/serving.py`: a script for a Python that has it installed.

    python benchmarks/_serving_genai.py FOLDER[:FOLDER] [THREADS]     # prints one JSON line for each folder

A FOLDER is what its own builder makes of a Hugging Face folder (a bundle of a pretrained model is one), offline, in an
environment that has PyTorch and transformers as well:

    python -m onnxruntime_genai.models.builder -i BUNDLE -o FOLDER -p int4 -e cpu --extra_options int4_accuracy_level=4

Greedy decoding of one stream, of 16 in one batch, and a prompt of 512 tokens. It imports nothing of Metroline.
"""

import json
import os
import sys
import time

import numpy as np
import onnxruntime_genai as genai  # type: ignore[import-not-found,unused-ignore] # installed with the peer, not with us

STEPS, STREAMS, PROMPT, PREFILL, REPEATS = 32, 16, 64, 512, 3


def load(folder: str, threads: int) -> genai.Model:
    """The model, with as many threads as asked for."""
    config = genai.Config(folder)
    options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    return genai.Model(config)


def generator(model: genai.Model, streams: int, length: int) -> genai.Generator:
    """For so many greedy sequences of so many tokens."""
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(batch_size=streams, max_length=length, min_length=length, do_sample=False)
    return genai.Generator(model, parameters)


def decode(model: genai.Model, streams: int) -> float:
    """Tokens per second of `streams` greedy sequences together."""
    run = generator(model, streams, PROMPT + STEPS + 8)
    run.append_tokens((100 + np.arange(PROMPT) + 7 * np.arange(streams)[:, None]).astype(np.int32))
    started = 0.0
    for step in range(STEPS + 2):
        if step == 2:
            started = time.perf_counter()
        run.generate_next_token()
    return streams * STEPS / (time.perf_counter() - started)


def prefill(model: genai.Model) -> float:
    """Tokens per second of a prompt."""
    run = generator(model, 1, PREFILL + 8)
    started = time.perf_counter()
    run.append_tokens((100 + np.arange(PREFILL))[None].astype(np.int32))
    run.generate_next_token()
    return PREFILL / (time.perf_counter() - started)


def main() -> None:
    """Measure each folder: the best of several runs."""
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    for folder in sys.argv[1].split(os.pathsep):
        model = load(folder, threads)
        prefill(model)
        found = {
            "one": max(decode(model, 1) for _ in range(REPEATS)),
            "many": max(decode(model, STREAMS) for _ in range(REPEATS)),
            "prefill": max(prefill(model) for _ in range(REPEATS)),
        }
        rounded = {key: round(value, 1) for key, value in found.items()}
        line = {"folder": os.path.basename(folder.rstrip("/")), **rounded, "version": genai.__version__}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
