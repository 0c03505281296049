"""Precision `auto`: which graph of a bundle is fastest on this machine, found by running each for a moment.

    METROLINE_PRECISION=auto        # or fp32, int8, int4

Every quantized graph passed the gates on what it may lose, so only speed decides: one stream, eight streams and a
prompt, as the product of the three. fp32 is tried only where the bundle has nothing else. The answer is kept in
BENTOML_HOME for this bundle, processor, number of threads, with or without kernels of ours, so that only the first
start takes the second or two. It knows no engine.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from base.errors import MetrolineError
from base.files import read_json, write_json
from base.forms import GRAPHS
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from serving.native import library
from serving.store import home

STREAMS, PROMPT, CONTEXT, REPEATS = 8, 64, 128, 6


def settle(
    bundle: DecoderBundle, threads: int, native: bool = True, environment: Mapping[str, str] = os.environ
) -> DecoderBundle:
    """The bundle with a graph chosen where its precision is `auto`. Raises MetrolineError when one cannot be loaded."""
    if bundle.precision != "auto":
        return bundle
    choices = [name for name in ("int8", "int4") if GRAPHS[name] in bundle.files] or ["fp32"]
    if len(choices) == 1:
        return replace(bundle, precision=choices[0])
    path = home(environment) / "metroline" / ".precision.json"
    kernels = "native" if native and library() else "plain"
    key = f"{bundle.version} {processor()} {threads} {kernels}"
    known = _read(path)
    if known.get(key) not in choices:
        known[key] = max(choices, key=lambda name: speed(replace(bundle, precision=name), threads, native))
        _write(path, known)
    return replace(bundle, precision=known[key])


def speed(bundle: DecoderBundle, threads: int, native: bool = True) -> float:
    """Tokens per second of one stream, of STREAMS streams and of a prompt, multiplied."""
    graph = Graph(replace(bundle, context=min(CONTEXT, bundle.context)), threads, STREAMS, native)
    length = min(PROMPT, graph.context - 1)
    prompt, last = np.arange(length) % bundle.vocab_size, np.array([length - 1])

    def rate(tokens: int, call: Callable[[], object]) -> float:
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        return tokens / min(seconds)

    return (
        rate(length, lambda: graph.extend(0, prompt, 0, last))
        * rate(1, lambda: graph.decode(0, [0], [length]))
        * rate(STREAMS, lambda: graph.decode(0, [0] * STREAMS, [length] * STREAMS))
    )


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read(path: Path) -> dict[str, str]:
    """What is known; nothing when it cannot be read: it is only a cache."""
    try:
        found = read_json(path)
    except (OSError, ValueError, MetrolineError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _write(path: Path, known: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    except (OSError, MetrolineError):  # a store that cannot be written to: it is measured again next time
        return
