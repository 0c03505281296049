"""What serving's C kernels gain over the same graph in ONNX Runtime's own operators, two threads each, in turns.

    python -m benchmarks.native [BUNDLE]               # default: artifacts/smollm2/bundle

Each quantized graph of the bundle is opened twice in this process, without HTTP: one stream, 16 streams and a prompt of
512 tokens, in tokens per second, the median of ROUNDS rounds. Accepted are those ratios that ACCEPT names.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from base.forms import GRAPHS
from benchmarks.serving import PREFILL, STREAMS, THREADS
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from serving.native import library

STEPS, CONTEXT, ROUNDS = 12, 128, 8
ACCEPT = {("int8", "many"): 1.3, ("int8", "prompt"): 1.2, ("int4", "one"): 1.3, ("int4", "many"): 1.5}
"""By form and what is measured: the least ratio."""


def rate(tokens: int, call: Callable[[], object]) -> float:
    """Tokens per second of one call."""
    started = time.perf_counter()
    call()
    return tokens / (time.perf_counter() - started)


def measure(graph: Graph) -> dict[str, float]:
    """One round."""

    def decode(streams: int) -> None:
        for step in range(STEPS):
            graph.decode(0, [200 + slot for slot in range(streams)], [CONTEXT + step] * streams)

    prompt = min(PREFILL, graph.context)
    return {
        "one": rate(STEPS, lambda: decode(1)),
        "many": rate(STEPS * STREAMS, lambda: decode(STREAMS)),
        "prompt": rate(prompt, lambda: graph.extend(0, np.arange(prompt) + 100, 0, np.array([prompt - 1]))),
    }


def compare(folder: Path, precision: str) -> dict[str, tuple[float, float]]:
    """With and without the kernels, by what is measured."""
    graphs = [Graph(DecoderBundle.load(folder, precision), THREADS, STREAMS, native) for native in (True, False)]
    rounds = [[measure(graph) for graph in graphs] for _ in range(ROUNDS + 1)][1:]
    return {
        what: tuple(statistics.median(pair[i][what] for pair in rounds) for i in (0, 1))  # type: ignore[misc]
        for what in rounds[0][0]
    }


def main() -> int:
    """Returns the exit status."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts/smollm2/bundle")
    if not (folder / "manifest.json").is_file():
        print(json.dumps({"name": "native", "skipped": f"{folder} is missing: metroline run smollm2"}))
        return 0
    if library() is None:
        print(json.dumps({"name": "native", "skipped": "the kernels are not built: metroline doctor says how"}))
        return 0
    found = {name: compare(folder, name) for name in ("int8", "int4") if (folder / GRAPHS[name]).is_file()}
    for name, values in found.items():
        for what, (with_, without) in values.items():
            print(f"{name} {what:6s} {with_:8.1f} against {without:8.1f} tokens/s: {with_ / without:.2f}")
    missed = 0
    for (name, what), least in ACCEPT.items():
        if name not in found:
            continue
        with_, without = found[name][what]
        ok = with_ >= least * without
        line = {"name": f"native_{name}_{what}", "value": round(with_, 1), "unit": "tokens/s",
                "baseline": round(without, 1), "ratio": round(with_ / without, 3), "accept": f">= {least}",
                "ok": ok}  # fmt: skip
        print(json.dumps(line))
        missed += not ok
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
