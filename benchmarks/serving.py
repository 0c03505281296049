"""The endpoint against llama.cpp: the same model and machine, two threads each, one after the other.

    python -m benchmarks.serving                      # artifacts/smollm2/bundle
    METROLINE_GGUF=model.gguf METROLINE_PEER_PYTHON=venv/bin/python python -m benchmarks.serving BUNDLE

Ours is measured through HTTP, every precision of the bundle that is within its gate, the best counts; the peer through
its own interface, without HTTP, in the quantization that is fastest there. All take turns, ROUNDS times, because a
machine may be faster in one minute than in the next: of a speed the best round counts, of all else the median. Prompts
are token ids, decoding is greedy.
The memory is that of all processes of the server without the part of the key/value cache that is in use, which is
printed beside it: the kernel's own count for the cache's mapping (/proc/PID/smaps). Pages that processes share count in
each. Without the peer (`pip install llama-cpp-python` in an environment of its own, built for the machine but without
AMX, which crashes in it) the ratios are left out and this benchmark says so. Further peers are measured and printed
beside it where they are installed: _serving_peers.py says how.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from base.forms import GRAPHS
from benchmarks._serving_client import streams, together
from benchmarks._serving_peers import baseline, further
from benchmarks.serving_start import seconds_to_ready
from serving.app.run import start
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph

THREADS, STREAMS, PROMPT, TOKENS, PREFILL, REPEATS, ROUNDS = 2, 16, 64, 128, 512, 3, 3
SPEEDS = {"one", "many", "prefill", "raw_one", "raw"}
ACCEPT = {
    "one stream, tokens/s": (1.0, "llama.cpp"),
    "16 streams, tokens/s": (2.0, "llama.cpp"),
    "prefill of 512, tokens/s": (2.5, "llama.cpp"),
}


def body(bundle: DecoderBundle, seed: int, size: int, tokens: int) -> dict[str, Any]:
    """A request with a prompt of random token ids, greedy, of a fixed length."""
    prompt = np.random.default_rng(seed).integers(100, bundle.vocab_size - 100, size).tolist()
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


class Raw:
    """The graph alone, in this process: what the endpoint cannot be faster than."""

    def __init__(self, bundle: DecoderBundle) -> None:
        self.graph = Graph(bundle, THREADS, STREAMS)
        for slot in range(STREAMS):
            self.graph.extend(slot, np.arange(PROMPT) + 100, 0, np.array([PROMPT - 1]))

    def rate(self, streams: int) -> float:
        """Tokens per second of that many streams, over as many steps as a request takes."""
        started = time.perf_counter()
        for step in range(TOKENS):
            self.graph.decode(0, [200 + slot for slot in range(streams)], [PROMPT + step] * streams).argmax(1)
        return streams * TOKENS / (time.perf_counter() - started)

    @property
    def token_bytes(self) -> int:
        """Bytes of a token in the cache."""
        parts = self.graph.cache.arrays.values()  # [slots, heads, capacity, width]
        return sum(array.itemsize * array.shape[1] * array.shape[3] for array in parts)


def ours(folder: Path, precision: str) -> dict[str, float]:
    """One server with one precision: speeds, memory, seconds to ready.

    Before each of its rounds the raw graph has one, since a machine may be faster in one minute than in the next; what
    the engine and HTTP cost is the median over these pairs.
    """
    bundle = DecoderBundle.load(folder, precision)
    found = {"float16": float(2 * 2 * bundle.layers * bundle.kv_heads * bundle.head_dim)}
    environment = {"METROLINE_PRECISION": precision, "METROLINE_THREADS": str(THREADS)}
    with tempfile.TemporaryDirectory() as name:
        environment["BENTOML_HOME"] = f"{name}/home"
        started = time.perf_counter()
        with start(folder, port=0, log=Path(name) / "log", environment=environment, tied=True) as server:
            found["ready"] = seconds_to_ready(server.url, server.process, started)
            raw = Raw(bundle)
            found["cache"] = float(raw.token_bytes)
            streams(server.url, [body(bundle, 0, PROMPT, 8)])
            rates: dict[str, list[float]] = {"one": [], "raw_one": [], "many": [], "raw": []}
            for i in range(REPEATS):
                rates["raw_one"].append(raw.rate(1))
                rates["one"].append(together(streams(server.url, [body(bundle, 1 + i, PROMPT, TOKENS)]))[0])
            gaps = []
            for i in range(REPEATS):
                rates["raw"].append(raw.rate(STREAMS))
                requests = [body(bundle, 100 + STREAMS * i + j, PROMPT, TOKENS) for j in range(STREAMS)]
                rate, seconds = together(streams(server.url, requests))
                rates["many"].append(rate)
                gaps += seconds
            found |= {what: max(each) for what, each in rates.items()}
            for ours, alone, what in (("many", "raw", "overhead"), ("one", "raw_one", "overhead_one")):
                found[what] = statistics.median(a / b - 1 for a, b in zip(rates[alone], rates[ours], strict=True))
            found["tail"] = float(np.percentile(gaps, 99) / np.percentile(gaps, 50))
            times = []
            for i in range(REPEATS + 1):
                (answer,) = streams(server.url, [body(bundle, 1000 + i, PREFILL, 1)])
                times.append(answer.events[0] - answer.sent)
            found["prefill"] = PREFILL / min(times)
            return found | memory(server.process.pid, raw.graph.cache.reserved)


def memory(server: int, reserved: int) -> dict[str, float]:
    """Resident megabytes of a server, of its cache, and of all but the cache. `reserved`: bytes of the cache."""
    processes = [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    maps = [each for process in processes for each in process.memory_maps(grouped=False)]
    caches = [each.rss for each in maps if each.size == reserved]
    if len(caches) != 1:
        raise RuntimeError(f"{len(caches)} mappings are as large as the cache: its memory cannot be told from the rest")
    whole = sum(process.memory_info().rss for process in processes)
    return {"all_rss": whole / 1e6, "cache_rss": caches[0] / 1e6, "rss": (whole - caches[0]) / 1e6}


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each speed the best round, of all else the median; nothing of none."""

    def over(key: str) -> float:
        values = [each[key] for each in rounds]
        return max(values) if key in SPEEDS else statistics.median(values)

    return {key: over(key) for key in rounds[0]} if rounds else {}


def rows(found: dict[str, dict[str, float]], other: dict[str, float] | None) -> list[dict[str, Any]]:
    """The table: what, our value, theirs, what is accepted, whether it is met (None: there is nothing to compare)."""
    made: list[dict[str, Any]] = []

    def add(what: str, value: float, baseline: float | None, bound: float, *, least: bool, of: str) -> None:
        ratio = value if baseline is None else value / baseline
        ok = (ratio >= bound if least else ratio <= bound) if baseline is not None or not least else None
        made.append({"name": what, "value": round(value, 3), "baseline": baseline, "accept": bound, "ok": ok, "of": of,
                     "ratio": None if baseline is None else round(ratio, 3)})  # fmt: skip

    for (what, (bound, _)), key in zip(ACCEPT.items(), ("one", "many", "prefill"), strict=True):
        best = max(found, key=lambda precision: found[precision][key])
        add(what, found[best][key], other and other[key], bound, least=True, of=best)
    best = max(found, key=lambda precision: found[precision]["many"])
    values = found[best]
    add("engine and HTTP over the raw graph at 16 streams, part", values["overhead"], None, 0.10,
        least=False, of=best)  # fmt: skip
    add("p99 / p50 of a token's time at 16 streams", values["tail"], None, 2.0, least=False, of=best)
    add("memory without the cache, MB", values["rss"], None, 500.0, least=False, of=best)
    add("cache, bytes a token over float16's", values["cache"] / values["float16"], None, 1.0, least=False, of=best)
    add("cold start, s", values["ready"], None, 5.0, least=False, of=best)
    return made


def main() -> int:
    """Measure, print the table and the JSON line. Returns 0 when all that could be judged is accepted."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("artifacts/smollm2/bundle")
    if not (folder / "manifest.json").is_file():
        print(json.dumps({"name": "serving", "skipped": f"there is no bundle at {folder}: metroline run smollm2"}))
        return 0
    files = DecoderBundle.load(folder, "fp32").files
    precisions = [name for name in ("int8", "int4") if GRAPHS[name] in files] or ["fp32"]
    theirs: list[dict[str, float] | None] = []
    measured: dict[str, list[dict[str, float]]] = {precision: [] for precision in precisions}
    for _ in range(ROUNDS):
        theirs.append(baseline(THREADS))
        for precision in precisions:
            measured[precision].append(ours(folder, precision))
            shown = {key: round(value, 2) for key, value in measured[precision][-1].items()}
            print(f"{precision} {json.dumps(shown)}", flush=True)
    more = further(folder, THREADS)
    other = summary([each for each in theirs if each])
    table = rows({precision: summary(rounds) for precision, rounds in measured.items()}, other or None)
    for row in table:
        print(json.dumps(row))
    first = table[1]
    ok = all(row["ok"] is not False for row in table)
    line = {"name": "serving", "unit": "tokens/s", "accept": ">= 2.0, and every row", "ok": ok, "rows": table}
    print(json.dumps(line | {"peers": more} | {key: first[key] for key in ("value", "baseline", "ratio")}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
