"""The side of `transformers` in `benchmarks/serving.py`: a script for a Python that has it, and PyTorch, installed.

    python benchmarks/_serving_transformers.py FOLDER [THREADS]     # prints one JSON line for each type of number

FOLDER is a Hugging Face folder, as a bundle of a pretrained model is one. Greedy decoding of one stream, of 16 in one
batch, and a prompt of 512 tokens, by the model's own forward call with its own cache, without `generate`, which is
slower. It imports nothing of Metroline.
"""

import json
import sys
import time

import torch
import transformers  # type: ignore[import-not-found,import-untyped,unused-ignore] # the peer's Python has it

STEPS, STREAMS, PROMPT, PREFILL, REPEATS = 32, 16, 64, 512, 3


@torch.inference_mode()
def decode(model: torch.nn.Module, streams: int) -> float:
    """Tokens per second of `streams` greedy sequences together."""
    prompt = 100 + torch.arange(PROMPT) + 7 * torch.arange(streams)[:, None]
    state = model(prompt, use_cache=True, logits_to_keep=1)
    started = 0.0
    for step in range(STEPS + 2):
        if step == 2:
            started = time.perf_counter()
        tokens = state.logits[:, -1].argmax(-1, keepdim=True)
        state = model(tokens, past_key_values=state.past_key_values, use_cache=True)
    return streams * STEPS / (time.perf_counter() - started)


@torch.inference_mode()
def prefill(model: torch.nn.Module) -> float:
    """Tokens per second of a prompt."""
    prompt = (100 + torch.arange(PREFILL))[None]
    started = time.perf_counter()
    model(prompt, use_cache=True, logits_to_keep=1).logits.argmax()
    return PREFILL / (time.perf_counter() - started)


def main() -> None:
    """Measure in float32 and bfloat16: the best of several runs of each."""
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    for kind in (torch.float32, torch.bfloat16):
        model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=kind, local_files_only=True).eval()
        prefill(model)
        found = {
            "one": max(decode(model, 1) for _ in range(REPEATS)),
            "many": max(decode(model, STREAMS) for _ in range(REPEATS)),
            "prefill": max(prefill(model) for _ in range(REPEATS)),
        }
        rounded = {key: round(value, 1) for key, value in found.items()}
        line = {"type": str(kind).removeprefix("torch."), **rounded, "version": transformers.__version__}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
